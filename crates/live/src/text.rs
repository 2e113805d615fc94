//! Prompts to tokens and tokens to text, without a model's tokenizer.
//!
//! Text is cut much as byte-pair tokenizers cut it: a word with the space before it, digits by threes, any other mark on
//! its own; a word longer than [`PIECE`] letters is several tokens. The words of answers are short and common, so that
//! they are one token each in this and in the usual tokenizers, and what is sent back is counted as it was sent.

use crate::openai::ApiError;
use rustc_hash::FxHashMap;
use std::hash::Hasher;
use std::sync::{Mutex, PoisonError};

/// Letters of one token at most.
pub const PIECE: usize = 8;

/// Words of answers: each is one token, with the space before it, in the tokenizers of GPT-2, Llama 3, Qwen and DeepSeek.
const WORDS: [&str; 64] = [
    " the", " of", " and", " to", " in", " is", " that", " for", " it", " as", " was", " with", " be", " by",
    " on", " not", " he", " his", " but", " at", " are", " this", " have", " had", " from", " they",
    " which", " one", " you", " were", " all", " her", " she", " there", " would", " their", " we", " him",
    " been", " has", " when", " who", " will", " no", " more", " if", " out", " so", " up", " said", " what",
    " its", " about", " than", " into", " them", " can", " only", " other", " time", " new", " some",
    " could", " these",
];

/// How answers are made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// Common words, drawn from the request's number.
    #[default]
    Lorem,
    /// The prompt's own words over and over.
    Echo,
}

/// The words of one answer.
#[derive(Debug, Clone)]
pub struct Words {
    seed: u64,
    echo: Vec<String>,
}

impl Words {
    /// Words of an answer; `echo` are pieces to repeat, if any.
    pub fn new(seed: u64, echo: Vec<String>) -> Self {
        Self { seed, echo }
    }

    /// Appends the token at `index`.
    pub fn push(&self, index: u32, text: &mut String) {
        if self.echo.is_empty() {
            text.push_str(WORDS[(mix(self.seed ^ u64::from(index)) % WORDS.len() as u64) as usize]);
        } else {
            text.push_str(&self.echo[index as usize % self.echo.len()]);
        }
    }

    /// The tokens from `from` up to `to`.
    pub fn text(&self, from: u32, to: u32) -> String {
        let mut text = String::with_capacity((to - from) as usize * 5);
        (from..to).for_each(|index| self.push(index, &mut text));
        text
    }
}

/// A well-mixed function of a number (splitmix64's finalizer).
pub fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// What one character begins or goes on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Space,
    Mark,
}

fn kind(c: char) -> Kind {
    match c {
        _ if c.is_whitespace() => Kind::Space,
        _ if c.is_ascii_digit() => Kind::Digit,
        // Scripts without spaces are cut at every character.
        '\u{2E80}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'.. => {
            Kind::Mark
        }
        _ if c.is_alphabetic() => Kind::Letter,
        _ => Kind::Mark,
    }
}

/// Calls `each` with every token of a text.
pub fn pieces<'a>(text: &'a str, mut each: impl FnMut(&'a str)) {
    let (mut start, mut letters, mut last) = (0, 0, None);
    for (at, c) in text.char_indices() {
        let now = kind(c);
        let goes_on = match (last, now) {
            // One space belongs to the word after it; several are one token.
            (Some(Kind::Space), Kind::Letter) => at - start == 1,
            (Some(Kind::Space), Kind::Space) => true,
            (Some(Kind::Letter), Kind::Letter) => letters < PIECE,
            (Some(Kind::Digit), Kind::Digit) => letters < 3,
            _ => false,
        };
        if !goes_on {
            if at > start {
                each(&text[start..at]);
            }
            (start, letters) = (at, 0);
        }
        letters += usize::from(now != Kind::Space);
        last = Some(now);
    }
    if start < text.len() {
        each(&text[start..]);
    }
}

/// Tokens of a text.
pub fn count(text: &str) -> u32 {
    let mut count = 0;
    pieces(text, |_| count += 1);
    count
}

/// A token's number: the same piece has the same number everywhere, below 2^31.
pub fn token_id(piece: &str) -> u32 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(piece.as_bytes());
    (mix(hasher.finish()) >> 33) as u32
}

/// Pieces that are remembered at most.
const MOST_PIECES: usize = 1 << 18;

/// What token numbers stand for. A number is a hash of its piece, so that only pieces that have been seen are known: the
/// words of answers, and what has been tokenised since the start.
#[derive(Debug)]
pub struct Vocabulary {
    pieces: Mutex<FxHashMap<u32, Box<str>>>,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let known = |word: &&str| (token_id(word), Box::from(*word));
        Self { pieces: Mutex::new(WORDS.iter().map(known).collect()) }
    }
}

impl Vocabulary {
    /// The number of a piece, which is remembered.
    pub fn learn(&self, piece: &str) -> u32 {
        let id = token_id(piece);
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        if pieces.len() < MOST_PIECES {
            pieces.entry(id).or_insert_with(|| Box::from(piece));
        }
        id
    }

    /// The text of tokens.
    ///
    /// # Errors
    /// 400 for a number that stands for nothing that has been seen.
    pub fn text(&self, tokens: &[u32]) -> Result<String, ApiError> {
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = |token: &u32| {
            let unknown = || {
                let message =
                    format!("token {token} is not known; numbers come from /tokenize of this server");
                ApiError::bad("tokens", message)
            };
            pieces.get(token).map(|piece| &**piece).ok_or_else(unknown)
        };
        tokens.iter().map(piece).collect()
    }
}

/// Counts tokens and hashes their full blocks, each with all before it.
#[derive(Debug, Clone)]
pub struct Blocks {
    block: u32,
    /// Tokens so far.
    pub tokens: u32,
    /// Hashes of the full blocks so far.
    pub hashes: Vec<u64>,
    state: u64,
    /// The tokens themselves, if they are kept.
    kept: Option<Vec<u32>>,
}

impl Blocks {
    /// Nothing yet; `block` is zero where no prefixes are cached.
    pub fn new(block: u32, salt: u64) -> Self {
        Self { block, tokens: 0, hashes: Vec::new(), state: salt, kept: None }
    }

    /// Keeps the tokens from now on.
    pub fn keeping(self) -> Self {
        Self { kept: Some(Vec::new()), ..self }
    }

    /// The full blocks, each by its hash with its tokens; none if they are not kept.
    pub fn full(&self) -> impl Iterator<Item = (u64, &[u32])> {
        let kept = self.kept.as_deref().unwrap_or(&[]);
        self.hashes.iter().copied().zip(kept.chunks_exact(self.block.max(1) as usize))
    }

    /// One more token.
    pub fn push(&mut self, token: u32) {
        self.tokens += 1;
        if self.block == 0 {
            return;
        }
        if let Some(kept) = &mut self.kept {
            kept.push(token);
        }
        self.state = mix(self.state.rotate_left(5) ^ u64::from(token));
        if self.tokens % self.block == 0 {
            self.hashes.push(self.state);
        }
    }

    /// The tokens of a text.
    pub fn push_text(&mut self, text: &str) {
        if self.block == 0 {
            self.tokens += count(text);
        } else {
            pieces(text, |piece| self.push(token_id(piece)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(text: &str) -> Vec<&str> {
        let mut found = Vec::new();
        pieces(text, |piece| found.push(piece));
        found
    }

    #[test]
    fn text_is_cut_as_tokenizers_do() {
        assert_eq!(cut("Hello world, 12345!"), ["Hello", " world", ",", " ", "123", "45", "!"]);
        assert_eq!(cut("  two\n\nextraordinary"), ["  ", "two", "\n\n", "extraord", "inary"]);
        assert_eq!(cut("昇騰 chip"), ["昇", "騰", " chip"]);
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_text(text in ".{0,200}") {
            prop_assert_eq!(cut(&text).concat(), text);
        }

        #[test]
        fn answers_are_counted_as_they_were_sent(seed in any::<u64>(), count_ in 1u32..300) {
            prop_assert_eq!(count(&Words::new(seed, Vec::new()).text(0, count_)), count_);
        }
    }
}
