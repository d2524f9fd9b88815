//! Tokens by the block: the divisions that every request makes several times.

/// A number of tokens, at least 1, by which others are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    tokens: u32,
    /// Its logarithm where it is a power of two, as almost every block size is: a division is dear.
    shift: Option<u32>,
}

impl Stride {
    pub fn new(tokens: u32) -> Stride {
        let tokens = tokens.max(1);
        Stride { tokens, shift: tokens.is_power_of_two().then(|| tokens.trailing_zeros()) }
    }

    pub fn tokens(self) -> u32 {
        self.tokens
    }

    /// Whole strides in so many tokens.
    #[inline(always)]
    pub fn within(self, tokens: u64) -> u64 {
        match self.shift {
            Some(shift) => tokens >> shift,
            None => tokens / u64::from(self.tokens),
        }
    }

    /// Strides that cover so many tokens, the last one perhaps in part.
    #[inline(always)]
    pub fn covering(self, tokens: u64) -> u64 {
        let whole = self.within(tokens);
        whole + u64::from(whole * u64::from(self.tokens) < tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_divide_as_numbers_do() {
        for size in [1, 2, 7, 16, 24, 32, 1 << 31, u32::MAX] {
            let stride = Stride::new(size);
            for tokens in [0, 1, 15, 16, 17, 1023, 1024, u64::from(size), u64::from(size) + 1, u64::MAX] {
                assert_eq!(stride.within(tokens), tokens / u64::from(size));
                assert_eq!(stride.covering(tokens), tokens.div_ceil(u64::from(size)));
            }
        }
        assert_eq!(Stride::new(0), Stride::new(1));
    }
}
