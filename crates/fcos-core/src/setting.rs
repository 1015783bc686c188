//! What is said of a setting that has no meaning, the same in every crate.

use std::fmt::Display;

/// A setting's value lies outside what it may be.
///
/// ```
/// use fcos_core::SettingError;
///
/// let radius = -1.5;
/// let error = SettingError::check(radius > 0.0, "center_sampling_radius", radius, "above 0")
///     .map_err(|error| error.within("assign"))
///     .unwrap_err();
/// assert_eq!(error.to_string(), "assign.center_sampling_radius is -1.5, but must be above 0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {found}, but must be {expected}")]
#[non_exhaustive]
pub struct SettingError {
    /// The setting's name, with those of the tables that it is in: `model.fpn.channels`.
    pub setting: String,
    /// The value that it has.
    pub found: String,
    /// The values that it may have: completes "must be …".
    pub expected: String,
}

impl SettingError {
    /// Says what a setting is and what it must be.
    pub fn new(setting: impl Display, found: impl Display, expected: impl Display) -> Self {
        Self {
            setting: setting.to_string(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Nothing if `ok`, else the error of [`new`](Self::new).
    ///
    /// # Errors
    /// If `ok` is false.
    pub fn check(
        ok: bool,
        setting: impl Display,
        found: impl Display,
        expected: impl Display,
    ) -> Result<(), Self> {
        if ok {
            Ok(())
        } else {
            Err(Self::new(setting, found, expected))
        }
    }

    /// The same of the setting in a table: `channels` becomes `fpn.channels`.
    #[must_use]
    pub fn within(mut self, table: &str) -> Self {
        self.setting = format!("{table}.{}", self.setting);
        self
    }
}
