//! What a reader says of a file that leaves something open.

/// Metadata entry that names the output that gives the scores, for files that have several.
pub const OUTPUT_KEY: &str = "fgmf.output";
/// Metadata entry that states height and width of the images, for files that leave them free.
pub const SIZE_KEY: &str = "fgmf.input_size";

/// What is taken of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReadOptions {
    /// Name of the output that gives the scores; without one see the module's description.
    pub output: Option<String>,
    /// Height and width of the images. The file may fix the same; another size is an error.
    pub size: Option<[usize; 2]>,
}

impl ReadOptions {
    /// Height and width as text has them, `224x192`, or one number for both; otherwise what was
    /// expected and found.
    pub fn parse_size(text: &str) -> Result<[usize; 2], String> {
        let side = |part: &str| part.trim().parse::<usize>().ok().filter(|&n| n > 0);
        let sides = match text.split_once(['x', 'X']) {
            Some((h, w)) => side(h).zip(side(w)).map(|(h, w)| [h, w]),
            None => side(text).map(|n| [n, n]),
        };
        sides.ok_or_else(|| {
            format!("expected height x width in pixels, such as 224x224 or 224, found `{text}`")
        })
    }
}
