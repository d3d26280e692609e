//! How data that no packet can carry whole is cut.

/// One part of what [`even_parts`] cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) data: &'a [u8],
    pub(super) first: bool,
    pub(super) last: bool,
}

/// Cuts `data` into as few parts as there can be of at most `capacity` bytes. Before the first part stand `extra` bytes more
/// that count like its own; so counted, no part is more than a byte longer than another. `extra` is less than half of
/// `capacity`. Data of no bytes is one empty part.
pub(super) fn even_parts(data: &[u8], extra: usize, capacity: usize) -> impl Iterator<Item = Part<'_>> {
    debug_assert!(2 * extra < capacity, "the first part has data");
    let total = extra + data.len();
    let count = total.div_ceil(capacity).max(1);
    let (size, larger) = (total / count, total % count);
    let mut rest = data;
    (0..count).map(move |index| {
        let (first, last) = (index == 0, index + 1 == count);
        let size = size + usize::from(index < larger) - if first { extra } else { 0 };
        let (data, tail) = rest.split_at(size);
        rest = tail;
        Part { data, first, last }
    })
}
