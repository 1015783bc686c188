//! FCOS object detection.
