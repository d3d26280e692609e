//! Publishers that come another way than by WHIP.

pub(crate) mod webm;
