//! CPU kernels for Burn: convolution, group norm and batch norm, forward and backward
