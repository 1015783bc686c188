//! The colours of Okabe and Ito (Color Universal Design, 2002) as `[red, green, blue]`: told apart
//! with any common colour vision.

/// Orange.
pub const ORANGE: [u8; 3] = [230, 159, 0];
/// Sky blue.
pub const SKY_BLUE: [u8; 3] = [86, 180, 233];
/// Bluish green.
pub const BLUISH_GREEN: [u8; 3] = [0, 158, 115];
/// Yellow, too faint for lines on white.
pub const YELLOW: [u8; 3] = [240, 228, 66];
/// Blue.
pub const BLUE: [u8; 3] = [0, 114, 178];
/// Vermilion.
pub const VERMILION: [u8; 3] = [213, 94, 0];
/// Reddish purple.
pub const REDDISH_PURPLE: [u8; 3] = [204, 121, 167];
