//! COCO annotations, health report, transforms, a generated dataset and a deterministic loader
