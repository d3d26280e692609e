//! Many small pictures in one: a grid of RGB pixels.

/// Bytes of a pixel.
pub(super) const RGB: usize = 3;

/// A grid of pictures of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    columns: usize,
    width: usize,
    height: usize,
    count: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    /// An empty one, for pictures of this size in pixels.
    pub(super) const fn new(columns: u32, width: u32, height: u32) -> Self {
        let (columns, width, height) = (columns as usize, width as usize, height as usize);
        Self { columns, width, height, count: 0, pixels: Vec::new() }
    }

    /// Puts a picture at the next place, from rows of RGB pixels that are `stride` bytes apart. What is missing of it stays black.
    pub(super) fn put(&mut self, picture: &[u8], stride: usize) {
        let (column, row) = (self.count % self.columns, self.count / self.columns);
        let line = self.columns * self.width * RGB;
        if column == 0 {
            self.pixels.resize(self.pixels.len() + line * self.height, 0);
        }
        let length = self.width * RGB;
        for (y, pixels) in picture.chunks(stride.max(1)).take(self.height).enumerate() {
            let at = (row * self.height + y) * line + column * length;
            let pixels = &pixels[..pixels.len().min(length)];
            self.pixels[at..at + pixels.len()].copy_from_slice(pixels);
        }
        self.count += 1;
    }

    /// Width and height in pixels: a sheet that is not full is as wide as a full one.
    pub(super) const fn size(&self) -> (u32, u32) {
        ((self.columns * self.width) as u32, (self.count.div_ceil(self.columns) * self.height) as u32)
    }

    /// Its pixels, row after row without padding.
    pub(super) fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_stand_side_by_side_then_below() {
        let mut sheet = Sheet::new(2, 1, 2);
        for shade in 1..=3 {
            // Two rows of one pixel, padded to four bytes.
            sheet.put(&[shade, shade, shade, 9, shade, shade, shade], 4);
        }
        assert_eq!(sheet.size(), (2, 4));
        let shades: Vec<u8> = sheet.into_pixels().chunks(RGB).map(|pixel| pixel[0]).collect();
        assert_eq!(shades, [1, 2, 1, 2, 3, 0, 3, 0]);
    }
}
