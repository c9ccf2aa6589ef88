// Pieces that wait to be decoded: those of the oldest window first, and of these the longest. There
// are few lengths, so those of one stand together, and neither end of the queue looks at many.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "heddle/decode/work_source.h"

namespace heddle::decode {

class ItemQueue {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }

  void put(Item item) {
    shelves_[{item.window, -item.tokens}].push_back(std::move(item));
    ++size_;
  }

  const Item& front() const { return shelves_.begin()->second.back(); }

  Item take() {
    const auto shelf = shelves_.begin();
    Item item = std::move(shelf->second.back());
    shelf->second.pop_back();
    if (shelf->second.empty()) shelves_.erase(shelf);
    --size_;
    return item;
  }

 private:
  std::map<std::pair<int64_t, int64_t>, std::vector<Item>> shelves_;  // by (window, −tokens)
  size_t size_ = 0;
};

}  // namespace heddle::decode
