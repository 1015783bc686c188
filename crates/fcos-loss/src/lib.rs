//! Focal, IoU-family and centre-ness losses on Burn tensors
