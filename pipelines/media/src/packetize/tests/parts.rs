//! Even parts.

use super::*;
use crate::packetize::parts::even_parts;

proptest! {
    #[test]
    fn parts_are_few_even_and_whole(data in prop::collection::vec(any::<u8>(), 0..2_000), capacity in 32usize..300, extra in 0usize..16) {
        let parts: Vec<_> = even_parts(&data, extra, capacity).collect();
        prop_assert_eq!(parts.len(), (data.len() + extra).div_ceil(capacity).max(1));
        let joined: Vec<u8> = parts.iter().flat_map(|part| part.data).copied().collect();
        prop_assert_eq!(&joined, &data);
        let sizes = parts.iter().map(|part| part.data.len() + if part.first { extra } else { 0 });
        let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
        prop_assert!(most <= capacity && most - least <= 1);
        prop_assert!(data.is_empty() || parts.iter().all(|part| !part.data.is_empty()));
        prop_assert!(parts.iter().enumerate().all(|(n, part)| part.first == (n == 0) && part.last == (n + 1 == parts.len())));
    }
}
