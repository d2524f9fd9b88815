//! Unpacking `.gz` (RFC 1952): header and check sum here, the deflated data by miniz_oxide.

/// Largest unpacked trace, bytes.
const MAX_UNPACKED: usize = 1 << 30;

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// The unpacked bytes of a file with one member.
pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let broken = || "the gzip file is cut short or broken".to_owned();
    let data = body(bytes).ok_or_else(broken)?;
    let (deflated, trailer) = data.split_last_chunk::<8>().ok_or_else(broken)?;
    let [c0, c1, c2, c3, n0, n1, n2, n3] = *trailer;
    let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(deflated, MAX_UNPACKED).map_err(|error| match error.status {
        miniz_oxide::inflate::TINFLStatus::HasMoreOutput => format!("the unpacked trace is larger than {MAX_UNPACKED} bytes"),
        _ => broken(),
    })?;
    if unpacked.len() as u64 != u64::from(u32::from_le_bytes([n0, n1, n2, n3])) || crc32(&unpacked) != u32::from_le_bytes([c0, c1, c2, c3])
    {
        return Err("the gzip file does not hold what its check sum says".to_owned());
    }
    Ok(unpacked)
}

/// What follows the header.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    if flags & 4 != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // A name and a comment, each ending in a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|&byte| byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 { rest.get(2..) } else { Some(rest) }
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'arrival_s\n' | gzip -n`
    const PACKED: [u8; 30] = [
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b, 0x2c, 0x2a, 0xca, 0x2c, 0x4b, 0xcc, 0x89, 0x2f, 0xe6, 2, 0, 0x8c, 0x21, 0x5f, 0x78, 10,
        0, 0, 0,
    ];

    #[test]
    fn the_check_sum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn names_are_skipped_and_damage_is_seen() {
        let packed = PACKED.to_vec();
        assert_eq!(unpack(&packed).unwrap(), b"arrival_s\n");
        let mut named = packed.clone();
        named[3] = 8;
        named.splice(10..10, *b"a.csv\0");
        assert_eq!(unpack(&named).unwrap(), b"arrival_s\n");
        let mut damaged = packed.clone();
        damaged[24] ^= 1;
        assert!(unpack(&damaged).unwrap_err().contains("check sum"));
        for length in 0..packed.len() {
            assert!(unpack(&packed[..length]).is_err());
        }
    }
}
