//! Who feeds whom, RTP continuity, keyframe demand, and what a viewer's way can carry. Pure: no clock, no socket, no task.

pub mod continuity;
pub mod estimate;
pub mod follow;
pub mod inspect;
pub mod keyframe;
