//! Who feeds whom, RTP continuity and keyframe demand. Pure: no clock, no socket, no task.

pub mod continuity;
pub mod inspect;
pub mod keyframe;
