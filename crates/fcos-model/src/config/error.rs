//! What can be wrong with a network's settings.

use fcos_core::SettingError;

/// Why a configuration describes no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting lies outside what the network can be built with.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The backbone is none that can be built here.
    #[error(
        "the backbone is {name:?}, which only a program that defines it can build; \
         this one builds {known:?}"
    )]
    UnknownBackbone {
        /// What the configuration's backbone is called.
        name: String,
        /// What can be built instead.
        known: String,
    },
    /// The settings of a program's own backbone are not what it expects.
    #[error("backbone.settings of {name:?}: {reason}")]
    OwnSettings {
        /// What the backbone is called.
        name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The backbone's maps are not those that the pyramid stands on.
    #[error("the pyramid stands on maps of strides {expected:?}, but the backbone's are {found:?}")]
    Features {
        /// The strides that the pyramid needs, the last ones of the backbone.
        expected: Vec<usize>,
        /// The backbone's strides.
        found: Vec<usize>,
    },
    /// Weights files would have two tensors of one name.
    #[error("the network has more than one tensor that weights files call {name}")]
    RepeatedName {
        /// The name.
        name: String,
    },
    /// No preset has this name.
    #[error("there is no preset {name:?}; a preset is one of {recipes} with one of {backbones}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The recipes' names.
        recipes: String,
        /// The backbones' names.
        backbones: String,
    },
    /// A name that could mean either of two presets.
    #[error("preset {name:?} is not called that any more: take {instead}")]
    RenamedPreset {
        /// The name asked for.
        name: String,
        /// What it may have meant, and how to choose.
        instead: &'static str,
    },
    /// A preset of one backbone was asked for a network with another.
    #[error("preset {preset:?} is for {named}, but this network's backbone is {found}")]
    OtherBackbone {
        /// The name asked for.
        preset: String,
        /// The backbone in it.
        named: &'static str,
        /// The network's.
        found: &'static str,
    },
}

impl ConfigError {
    /// The same of a setting in a table: `fpn.channels` becomes `model.fpn.channels`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        match self {
            Self::Setting(error) => Self::Setting(error.within(table)),
            other => other,
        }
    }
}
