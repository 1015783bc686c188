//! From head outputs to detections: score, top-k, decode, clip and class-aware NMS
