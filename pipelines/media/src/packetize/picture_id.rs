//! The picture ids of VP8 and VP9, 15 bits wide.

/// Numbers pictures: zero first, one more for each, zero again after 32767.
#[derive(Debug, Default)]
pub(super) struct PictureIds {
    next: u16,
}

impl PictureIds {
    /// The next picture's id as it stands in the payload, its M bit set (RFC 7741 section 4.2, RFC 9628 section 4.2).
    pub(super) const fn take(&mut self) -> [u8; 2] {
        let id = self.next;
        self.next = (id + 1) & 0x7fff;
        (0x8000 | id).to_be_bytes()
    }
}
