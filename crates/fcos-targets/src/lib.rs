//! Target assignment for anchor-free detectors: FCOS
