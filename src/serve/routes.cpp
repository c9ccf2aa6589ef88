#include "heddle/serve/routes.h"

#include "heddle/serve/page_files.h"

namespace heddle::serve {

namespace {

struct Row {
  std::string_view path;
  Route route;
};

constexpr Row kRows[] = {
    {"/v1/translate", Route::translate},
    {"/v1/models", Route::models},
    {"/translate", Route::libre_translate},
    {"/languages", Route::libre_languages},
    {"/health", Route::health},
    {"/ready", Route::ready},
    {"/metrics", Route::metrics},
    {"/openapi.json", Route::openapi},
};

}  // namespace

Route route_of(std::string_view path) {
  for (const Row& row : kRows) {
    if (row.path == path) return row.route;
  }
  return find_page_file(path) != nullptr ? Route::page : Route::none;
}

std::string_view label_of(Route route) {
  for (const Row& row : kRows) {
    if (row.route == route) return row.path;
  }
  return route == Route::page ? "/" : "other";
}

bool is_post(Route route) { return route == Route::translate || route == Route::libre_translate; }

bool is_public(Route route) {
  return route == Route::health || route == Route::ready || route == Route::page;
}

}  // namespace heddle::serve
