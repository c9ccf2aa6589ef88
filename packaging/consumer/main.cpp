// Uses an installed Heddle: two packed documents, each seen by itself alone.
#include <cstdio>

#include "heddle/mask/builders.h"

int main() {
  const heddle::ColumnMask mask = heddle::masks::causal_document({3, 2});
  std::printf("%lld of 25 pairs may look\n", static_cast<long long>(mask.visible_pairs()));
  return mask.visible_pairs() == 6 + 3 ? 0 : 1;
}
