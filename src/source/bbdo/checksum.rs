//! CRC-16/X-25, which guards the header of every BBDO packet.
//!
//! Reflected polynomial 0x8408, start 0xFFFF, complemented at the end; "123456789" gives 0x906E.

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            rest = match rest & 1 {
                1 => rest >> 1 ^ 0x8408,
                _ => rest >> 1,
            };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// The checksum of `bytes`.
pub fn x25(bytes: &[u8]) -> u16 {
    let step = |rest: u16, byte: &u8| {
        let [_, low] = (rest ^ u16::from(*byte)).to_be_bytes();
        rest >> 8 ^ TABLE[usize::from(low)]
    };
    !bytes.iter().fold(0xFFFF, step)
}
