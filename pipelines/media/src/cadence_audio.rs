//! Continuous sound at a constant rate from decoded blocks that come late, early or not at all.
//!
//! Out come blocks of [`BLOCK_SAMPLES`] samples, each beginning where the last one ended. What comes in is placed by its
//! PTS: a hole (mute, discontinuous transmission, loss) becomes silence, what overlaps is cut, every joint is smoothed,
//! and a PTS that drifts slowly against the count of samples (two clocks) is followed by stretching blocks by a sample
//! or two, never by a step.
//!
//! What belongs here: which sample stands where. What does not: codecs. Samples are interleaved `f32`.

mod joint;
mod plan;

use crate::time::{AUDIO_RATE, MediaTime, Mono};
use joint::Shaper;
use plan::Plan;
use std::collections::VecDeque;
use std::time::Duration;

/// Samples per channel in one block: what one AAC-LC frame holds (ISO/IEC 14496-3 section 4.5.2.1.1).
pub const BLOCK_SAMPLES: usize = 1024;

/// Channels of every block.
pub const CHANNELS: usize = 2;

/// Sound this far before its time belongs to a broken timeline and is dropped: waiting for it would be silence.
const MAX_AHEAD: Duration = Duration::from_secs(2);

/// Sound that waits for an encoder, per channel, before more is turned to silence: memory is bounded by this.
const MAX_WAITING_SAMPLES: usize = 2 * AUDIO_RATE as usize;

/// What an [`AudioCadence`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioCadenceConfig {
    /// How long after its time a block is completed with silence.
    pub max_wait: Duration,
    /// The zero of the stream's timeline.
    pub epoch: Mono,
    /// Where the first sample stands; otherwise where the first sound does.
    pub resume_at: Option<MediaTime>,
}

/// [`BLOCK_SAMPLES`] samples of sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Where its first sample stands, in 48 kHz ticks.
    pub pts: MediaTime,
    /// `BLOCK_SAMPLES * CHANNELS` interleaved samples.
    pub samples: Vec<f32>,
}

/// Counters of an [`AudioCadence`], in samples per channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioCadenceCounters {
    /// Silence put where there was no sound.
    pub silent: u64,
    /// Sound cut because its time had been filled, or was too far away.
    pub cut: u64,
    /// Samples added or taken away by following a drifting clock.
    pub stretched: u64,
}

/// Sound and silence in the order of time.
#[derive(Debug)]
enum Chunk {
    Silence(u64),
    Sound(VecDeque<f32>),
}

/// Places decoded sound on the timeline without gap or overlap.
#[derive(Debug)]
pub struct AudioCadence {
    config: AudioCadenceConfig,
    /// Where the next block begins. `None` until there is a first sound.
    next: Option<i64>,
    /// Where the next sound joins: the end of what is in `queue`.
    end: i64,
    queue: VecDeque<Chunk>,
    waiting_samples: usize,
    shaper: Shaper,
    counters: AudioCadenceCounters,
}

impl AudioCadence {
    /// A cadence before its first sound.
    pub fn new(config: AudioCadenceConfig) -> Self {
        let next = config.resume_at.map(|at| at.rescale(AUDIO_RATE).ticks);
        Self {
            config,
            next,
            end: next.unwrap_or(0),
            queue: VecDeque::new(),
            waiting_samples: 0,
            shaper: Shaper::default(),
            counters: AudioCadenceCounters::default(),
        }
    }

    /// Sound has been decoded: interleaved samples whose first stands at `pts`. An incomplete last sample is ignored.
    pub fn handle_sound(&mut self, pts: MediaTime, samples: &[f32], now: Mono) {
        let count = samples.len() / CHANNELS;
        let ahead = i128::from(pts.as_nanos()) - i128::from(now.nanos_since(self.config.epoch));
        if count == 0 || ahead > MAX_AHEAD.as_nanos().cast_signed() {
            self.counters.cut += count as u64;
            return;
        }
        let pts = pts.rescale(AUDIO_RATE).ticks;
        if self.next.is_none() {
            self.next = Some(pts);
            self.end = pts;
        }
        let plan = Plan::for_sound(pts - self.end, count);
        self.counters.cut += plan.cut as u64;
        if plan.cut >= count {
            return;
        }
        if plan.silence > 0 {
            self.push_silence(plan.silence);
        }
        if self.waiting_samples + plan.length > MAX_WAITING_SAMPLES {
            self.counters.cut += (count - plan.cut) as u64;
            self.push_silence(plan.length as u64);
            return;
        }
        self.counters.stretched += plan.length.abs_diff(count - plan.cut) as u64;
        if plan.cut > 0 {
            self.shaper.break_joint();
        }
        let mut sound = match self.queue.pop_back() {
            Some(Chunk::Sound(sound)) => sound,
            other => {
                self.queue.extend(other);
                VecDeque::new()
            }
        };
        self.shaper.shape(&samples[plan.cut * CHANNELS..count * CHANNELS], plan.length, &mut sound);
        self.queue.push_back(Chunk::Sound(sound));
        self.waiting_samples += plan.length;
        self.end += plan.length as i64;
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.next.map(|next| self.due(self.open_block(next)))
    }

    /// Completes with silence every block whose time ran out.
    pub fn handle_timeout(&mut self, now: Mono) {
        let Some(next) = self.next else { return };
        let open = self.open_block(next);
        if now < self.due(open) {
            return;
        }
        let passed = now.nanos_since(self.config.epoch + self.config.max_wait);
        let passed = MediaTime::from_nanos(passed).rescale(AUDIO_RATE).ticks;
        let blocks = (passed - open).max(0) / BLOCK_SAMPLES as i64 + 1;
        let mut end = open + blocks * BLOCK_SAMPLES as i64;
        while self.due(end) <= now {
            end += BLOCK_SAMPLES as i64; // rounding between nanoseconds and samples
        }
        self.push_silence((end - self.end).unsigned_abs());
    }

    /// The next whole block.
    pub fn poll_block(&mut self) -> Option<Block> {
        let next = self.next?;
        if self.end - next < BLOCK_SAMPLES as i64 {
            return None;
        }
        let mut samples = Vec::with_capacity(BLOCK_SAMPLES * CHANNELS);
        while samples.len() < BLOCK_SAMPLES * CHANNELS {
            let missing = BLOCK_SAMPLES - samples.len() / CHANNELS;
            match self.queue.front_mut().expect("the queue holds all samples up to `end`") {
                Chunk::Silence(left) => {
                    let take = usize::try_from(*left).map_or(missing, |left| left.min(missing));
                    samples.resize(samples.len() + take * CHANNELS, 0.0);
                    *left -= take as u64;
                    if *left == 0 {
                        self.queue.pop_front();
                    }
                }
                Chunk::Sound(sound) => {
                    let take = missing.min(sound.len() / CHANNELS);
                    samples.extend(sound.drain(..take * CHANNELS));
                    self.waiting_samples -= take;
                    if sound.is_empty() {
                        self.queue.pop_front();
                    }
                }
            }
        }
        self.next = Some(next + BLOCK_SAMPLES as i64);
        Some(Block { pts: MediaTime::from_48k(next), samples })
    }

    /// Where the next block begins; `None` before the first sound.
    pub fn next_pts(&self) -> Option<MediaTime> {
        self.next.map(MediaTime::from_48k)
    }

    /// What has been filled, cut and stretched so far.
    pub const fn counters(&self) -> AudioCadenceCounters {
        self.counters
    }

    /// The beginning of the block that is not complete yet.
    fn open_block(&self, next: i64) -> i64 {
        let block = BLOCK_SAMPLES as i64;
        next + (self.end - next).div_euclid(block) * block
    }

    fn due(&self, sample: i64) -> Mono {
        let nanos = MediaTime::from_48k(sample).as_nanos();
        let span = Duration::from_nanos(nanos.unsigned_abs());
        let epoch = self.config.epoch;
        (if nanos < 0 { epoch - span } else { epoch + span }) + self.config.max_wait
    }

    /// Puts `count` samples of silence at the end, the first of them fading out of the sound before.
    fn push_silence(&mut self, count: u64) {
        self.counters.silent += count;
        self.end += count.cast_signed();
        let mut fade = VecDeque::new();
        self.shaper.fade_out(count, &mut fade);
        let faded = fade.len() / CHANNELS;
        if faded > 0 {
            self.waiting_samples += faded;
            self.queue.push_back(Chunk::Sound(fade));
        }
        let rest = count - faded as u64;
        match self.queue.back_mut() {
            Some(Chunk::Silence(left)) => *left += rest,
            _ if rest > 0 => self.queue.push_back(Chunk::Silence(rest)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
