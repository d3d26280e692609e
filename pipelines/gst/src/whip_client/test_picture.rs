//! The picture of the test source: a dark moving pattern, the time in digits and as a bar code, and a white flash at
//! every full second. Pure: it paints the luma plane of one frame for one point of time.

use std::time::Duration;

/// How long a flash lasts. Frames whose time is within this of a full second are white.
pub const FLASH_LENGTH: Duration = Duration::from_millis(100);

/// A frame whose mean luma (0 to 255, video range) is above this is part of a flash; all others stay below 90.
pub const FLASH_LUMA_THRESHOLD: u8 = 150;

/// White and black of video range (ITU-R BT.601).
const WHITE: u8 = 235;
const BLACK: u8 = 16;

/// Cells of the bar code: 24 bits of milliseconds, then 8 bits of checksum.
const CELLS: usize = 32;

/// One period of the moving pattern, in pixels.
const PERIOD: usize = 128;

/// Digits, three pixels wide and five high, one row in each octal-like triple of bits (high bit left).
const GLYPHS: [[u8; 5]; 12] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 3, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 2, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
    [0, 2, 0, 2, 0], // ':'
    [0, 0, 0, 0, 2], // '.'
];

/// Paints frames of one size.
#[derive(Debug)]
pub(super) struct TestPicture {
    width: usize,
    height: usize,
    /// One row of the pattern, a period longer than the picture: each row is a slice of it.
    row: Vec<u8>,
}

impl TestPicture {
    /// A painter of `width` x `height` pixels.
    pub(super) fn new(width: usize, height: usize) -> Self {
        // A triangle wave from black to dark grey.
        let row = (0..width + PERIOD)
            .map(|x| {
                let phase = x % PERIOD;
                BLACK + (if phase < PERIOD / 2 { phase } else { PERIOD - phase }) as u8
            })
            .collect();
        Self { width, height, row }
    }

    /// Paints the luma plane (rows `stride` bytes apart) of the frame shown at `time` of the source's clock.
    pub(super) fn paint(&self, luma: &mut [u8], stride: usize, time: Duration) {
        let flash = u128::from(time.subsec_nanos()) < FLASH_LENGTH.as_nanos();
        let step = time.as_millis() as usize / 8;
        for (y, line) in luma.chunks_mut(stride).take(self.height).enumerate() {
            let Some(line) = line.get_mut(..self.width) else { continue };
            if flash {
                line.fill(WHITE);
            } else {
                let start = (y + step) % PERIOD;
                line.copy_from_slice(&self.row[start..start + self.width]);
            }
        }
        if !flash {
            self.paint_bar_code(luma, stride, time);
            self.paint_digits(luma, stride, time);
        }
    }

    fn paint_bar_code(&self, luma: &mut [u8], stride: usize, time: Duration) {
        let (cell, bar) = (self.width / CELLS, bar_height(self.height));
        let code = encode(time.as_millis() as u32);
        for line in luma.chunks_mut(stride).take(bar) {
            for (index, pixels) in line.chunks_mut(cell.max(1)).take(CELLS).enumerate() {
                pixels.fill(if code >> (CELLS - 1 - index) & 1 == 1 { WHITE } else { BLACK });
            }
        }
    }

    /// `MM:SS.mmm`, each glyph pixel a square.
    fn paint_digits(&self, luma: &mut [u8], stride: usize, time: Duration) {
        let (seconds, millis) = (time.as_secs(), time.subsec_millis());
        let text = format!("{:02}:{:02}.{millis:03}", seconds / 60 % 100, seconds % 60);
        let dot = self.width / 64;
        let (left, top) = (self.width / 4, self.height / 2);
        for (position, character) in text.bytes().enumerate() {
            let glyph = match character {
                b':' => &GLYPHS[10],
                b'.' => &GLYPHS[11],
                digit => &GLYPHS[usize::from(digit - b'0')],
            };
            for (row, bits) in glyph.iter().enumerate() {
                for column in (0..3).filter(|c| bits >> (2 - c) & 1 == 1) {
                    let x = left + (position * 4 + column) * dot;
                    for y in top + row * dot..top + (row + 1) * dot {
                        if let Some(pixels) =
                            luma.get_mut(y * stride + x..y * stride + (x + dot).min(self.width))
                        {
                            pixels.fill(160);
                        }
                    }
                }
            }
        }
    }
}

/// Height of the bar code in a picture of this height, in pixels.
fn bar_height(height: usize) -> usize {
    (height / 24).max(2)
}

/// Milliseconds with their checksum, as the 32 bits of the bar code.
fn encode(millis: u32) -> u32 {
    let value = millis & 0x00ff_ffff;
    value << 8 | checksum(value)
}

/// Odd factors, so that no flipped bit goes unnoticed; a summand, so that black does not read as zero.
fn checksum(value: u32) -> u32 {
    let [_, high, middle, low] = value.to_be_bytes().map(u32::from);
    (high * 113 + middle * 31 + low * 7 + 90) & 0xff
}

/// Reads the bar code back from a decoded picture of any size: milliseconds of the source's clock at which the frame
/// was made (modulo 2^24, 4 h 39 min), or `None` for a flash or anything that is not the test picture.
///
/// The bar code fills the top 1/24 of the picture: 32 cells of 1/32 of the width, the most significant bit left, white
/// is 1; 24 bits of milliseconds and 8 of checksum: with the bytes of the milliseconds h, m, l it is
/// (113 h + 31 m + 7 l + 90) modulo 256.
pub fn read_timecode(luma: &[u8], stride: usize, width: usize, height: usize) -> Option<u32> {
    let (cell, y) = (width / CELLS, bar_height(height) / 2);
    let code = (0..CELLS).try_fold(0u32, |code, index| {
        let x = y * stride + index * cell;
        // The middle half: codecs blur the edges.
        let pixels = luma.get(x + cell / 4..x + cell - cell / 4).filter(|p| !p.is_empty())?;
        let mean = pixels.iter().map(|p| usize::from(*p)).sum::<usize>() / pixels.len();
        Some(code << 1 | u32::from(mean > 128))
    })?;
    let millis = code >> 8;
    (encode(millis) == code).then_some(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(time: Duration) -> Vec<u8> {
        let mut luma = vec![0; 1344 * 720];
        TestPicture::new(1280, 720).paint(&mut luma, 1344, time);
        luma
    }

    fn mean(luma: &[u8]) -> usize {
        let pixels: Vec<_> = luma.chunks(1344).flat_map(|l| &l[..1280]).collect();
        pixels.iter().map(|p| usize::from(**p)).sum::<usize>() / pixels.len()
    }

    #[test]
    fn frames_of_the_first_tenth_of_a_second_are_white_and_all_others_dark() {
        for frame in 0..90u64 {
            let time = Duration::from_nanos(frame * 1_000_000_000 / 30);
            let luma = mean(&picture(time));
            if frame % 30 < 3 {
                assert_eq!(luma, 235, "frame {frame}");
            } else {
                assert!(luma < 90, "frame {frame}: {luma}");
            }
        }
    }

    #[test]
    fn the_bar_code_reads_back_and_nothing_else_reads() {
        for millis in [133, 59_999, 3_600_500, (1 << 24) + 500] {
            let luma = picture(Duration::from_millis(millis));
            assert_eq!(read_timecode(&luma, 1344, 1280, 720), Some(millis as u32 & 0x00ff_ffff));
        }
        assert_eq!(read_timecode(&picture(Duration::from_secs(3)), 1344, 1280, 720), None, "a flash");
        assert_eq!(read_timecode(&vec![16; 1344 * 720], 1344, 1280, 720), None, "black");
        assert_eq!(read_timecode(&[], 1344, 1280, 720), None);
        assert_eq!(read_timecode(&[1, 2, 3], 1, 1, 1), None);
    }

    #[test]
    fn tiny_pictures_do_not_panic() {
        for (width, height) in [(1, 1), (16, 16), (31, 7), (64, 2)] {
            let mut luma = vec![0; width * height];
            TestPicture::new(width, height).paint(&mut luma, width, Duration::from_millis(1500));
        }
    }
}
