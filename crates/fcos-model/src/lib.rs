//! FCOS in Burn: ResNet and ResNeXt backbones, feature pyramid, head, weights
