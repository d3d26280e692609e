//! The little of H.264's bitstream that packaging must read.
