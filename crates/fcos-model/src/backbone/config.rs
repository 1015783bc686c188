//! Which backbone a network has, and with which settings.

use fcos_core::SettingError;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::resnet::ResNetConfig;
use crate::config::ConfigError;

/// The entry that says of which family a backbone is.
const FAMILY: &str = "family";
const RESNET: &str = "resnet";
const OWN: &str = "own";

/// The backbone's settings: a table with its `family` beside the settings of that family. A table
/// without one is a ResNet's, as in every file before there were families.
///
/// ```
/// use fcos_model::{Arch, BackboneConfig, ResNetConfig};
///
/// let config: BackboneConfig = serde_json::from_str(r#"{ "family": "resnet", "arch": "r18" }"#)?;
/// assert_eq!(config, ResNetConfig::new(Arch::ResNet18).into());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "family")]
#[non_exhaustive]
pub enum BackboneConfig {
    /// A ResNet or ResNeXt; family `resnet`.
    #[serde(rename = "resnet")]
    ResNet(ResNetConfig),
    /// A module of the program that uses this library; family `own`.
    #[serde(rename = "own")]
    Own(OwnBackbone),
}

/// Settings of a backbone that only the program knows that defines it, by implementing
/// [`BackboneModel`](crate::BackboneModel). They are kept in weights files and run folders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnBackbone {
    /// What the program calls it: for other programs to say whose it is.
    pub name: String,
    /// Whatever it needs to be built.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

impl BackboneConfig {
    /// A backbone of one's own, with settings that serde writes as a table.
    ///
    /// # Errors
    /// If they are no table.
    ///
    /// ```
    /// use serde_json::json;
    ///
    /// let config = fcos_model::BackboneConfig::own("strided", json!({ "width": 16 }))?;
    /// assert_eq!(config.name(), "strided");
    /// # Ok::<(), fcos_model::ConfigError>(())
    /// ```
    pub fn own(name: &str, settings: impl Serialize) -> Result<Self, ConfigError> {
        let invalid = |reason: String| ConfigError::OwnSettings {
            name: name.into(),
            reason,
        };
        match serde_json::to_value(settings).map_err(|e| invalid(e.to_string()))? {
            Value::Object(settings) => Ok(Self::Own(OwnBackbone {
                name: name.into(),
                settings,
            })),
            other => Err(invalid(format!("{other} is no table"))),
        }
    }

    /// The settings of a program's own backbone of this name, for
    /// [`BackboneModel::init`](crate::BackboneModel::init).
    ///
    /// # Errors
    /// If these are another backbone's settings, or none that a `T` can be read from.
    pub fn own_settings<T: DeserializeOwned>(&self, name: &str) -> Result<T, ConfigError> {
        match self {
            Self::Own(own) if own.name == name => {
                let settings = serde_json::from_value(Value::Object(own.settings.clone()));
                settings.map_err(|error| ConfigError::OwnSettings {
                    name: name.into(),
                    reason: error.to_string(),
                })
            }
            other => Err(other.unknown(name)),
        }
    }

    /// What the backbone is called: its family, or the name that its program gave it.
    pub fn name(&self) -> &str {
        match self {
            Self::ResNet(_) => RESNET,
            Self::Own(own) => &own.name,
        }
    }

    /// A ResNet's settings, if it is one.
    pub fn as_resnet(&self) -> Option<&ResNetConfig> {
        match self {
            Self::ResNet(config) => Some(config),
            _ => None,
        }
    }

    /// A ResNet's settings to change, if it is one.
    pub fn as_resnet_mut(&mut self) -> Option<&mut ResNetConfig> {
        match self {
            Self::ResNet(config) => Some(config),
            _ => None,
        }
    }

    /// Whether such a backbone can be built, as far as this library can tell.
    pub(crate) fn validate(&self) -> Result<(), SettingError> {
        match self {
            Self::ResNet(config) => config.validate(),
            Self::Own(own) => SettingError::check(
                !own.name.is_empty(),
                "name",
                "empty",
                "the name of the program's backbone",
            ),
        }
    }

    /// Takes over from `other` what matters in training only: weights are the same with either.
    pub(crate) fn train_as(&mut self, other: &Self) {
        match (self, other) {
            (Self::ResNet(config), Self::ResNet(other)) => config.train_as(other),
            (Self::ResNet(_) | Self::Own(_), _) => {} // whatever differs counts
        }
    }

    /// That `known` is all that can be built here.
    pub(super) fn unknown(&self, known: &str) -> ConfigError {
        ConfigError::UnknownBackbone {
            name: self.name().into(),
            known: known.into(),
        }
    }
}

impl Default for BackboneConfig {
    /// A ResNet-50.
    fn default() -> Self {
        Self::ResNet(ResNetConfig::default())
    }
}

impl From<ResNetConfig> for BackboneConfig {
    fn from(config: ResNetConfig) -> Self {
        Self::ResNet(config)
    }
}

impl<'de> Deserialize<'de> for BackboneConfig {
    /// By hand, since serde's tagged enums have no default for the tag.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let family = table.remove(FAMILY).unwrap_or_else(|| RESNET.into());
        let table = Value::Object(table);
        let config = match family.as_str() {
            Some(RESNET) => serde_json::from_value(table).map(Self::ResNet),
            Some(OWN) => serde_json::from_value(table).map(Self::Own),
            _ => {
                let known = format!("\"{RESNET}\" or \"{OWN}\"");
                return Err(D::Error::custom(SettingError::new(FAMILY, family, known)));
            }
        };
        config.map_err(D::Error::custom)
    }
}
