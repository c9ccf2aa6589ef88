#include "cli/default_model.h"

#include <filesystem>
#include <system_error>

#include "heddle/base/error.h"

namespace heddle::cli {

std::string default_model() {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error);
  while (!error && folder.has_relative_path()) {
    folder = folder.parent_path();
    for (const char* below : {"models", "share/heddle/models"}) {
      const std::filesystem::path model = folder / below / kDefaultModel;
      if (std::filesystem::exists(model / "config.json", error)) return model.string();
    }
  }
  detail::throw_error(str("--model: found none, and ", kDefaultModel,
                          " is not where this program is; expected a model's directory"));
}

}  // namespace heddle::cli
