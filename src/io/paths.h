// Names of files and folders.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::io {

/// `folder`/`name`; an absolute name stays as it is.
std::string join_path(std::string_view folder, std::string_view name);

/// The part of a path after its last '/', and the part before it ("." when there is none).
std::string file_name(std::string_view path);
std::string folder_of(std::string_view path);

/// Whether something of the name exists, whatever it is; and whether it is a directory.
bool exists(const std::string& path);
bool is_directory(const std::string& path);

/// Names of what lies in a directory, sorted, without . and .. ; throws beyond 10,000 of them.
std::vector<std::string> list_folder(const std::string& path);

/// Whether a name from a file stays below the folder it is used in: relative, without "..".
bool stays_below(std::string_view name);

}  // namespace heddle::io
