#include "heddle/model/layers_of_pass.h"

namespace heddle::model {

template void run_encoder(Pass&, const PackedRows&, ops::Rows&);
template void run_decoder(Pass&, const DecoderRows&, DecoderMemory&, ops::Rows&);

}  // namespace heddle::model
