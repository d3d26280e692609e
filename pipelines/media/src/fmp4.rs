//! CMAF boxes: initialisation segments and fragments.
