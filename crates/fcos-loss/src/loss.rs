//! The three losses together (FCOS, Eq. 2, with the centre-ness term of §3.3).
//!
//! B images, N locations of all levels in level order, C classes.

use burn::tensor::{Bool, Int, Tensor};
use fcos_core::Outputs;

use crate::{
    BoxWeighting, LossConfig, LossTerms, Normalizer, centerness_loss, iou_loss, sigmoid_focal_loss,
    term,
};

/// What the network should predict.
#[derive(Debug, Clone)]
pub struct LossTargets {
    /// `[B, N]`, 0-based class, −1 for background.
    pub labels: Tensor<2, Int>,
    /// `[B, N, 4]` distances `l, t, r, b`; read at positive locations only, where all are above 0.
    pub ltrb: Tensor<3>,
    /// `[B, N]` in `(0, 1]`; read at positive locations only.
    pub centerness: Tensor<2>,
}

/// The FCOS loss of a [`LossConfig`].
#[derive(Debug, Clone)]
pub struct FcosLoss {
    config: LossConfig,
}

impl FcosLoss {
    pub(crate) fn new(config: LossConfig) -> Self {
        Self { config }
    }

    /// Compares a batch's outputs with its targets.
    ///
    /// `outputs` are those of the network: class logits `[B, N, C]`, distances `[B, N, 4]`,
    /// centre-ness logits `[B, N, 1]`. They are in `f32` or wider: in half precision, areas overflow
    /// and the epsilons vanish. Distances are in the unit of the targets, `l + r` and `t + b` not below
    /// 0; offsets of an anchor may give a box beside its location: then some distances are negative.
    ///
    /// `normalizer` holds the divisors of the step; its counts must be those of the targets, or of
    /// the larger step that the batch is a part of: then the gradients of all parts add up to those
    /// of the step. Without any positive location the box and centre-ness losses are exactly 0, with
    /// no gradient.
    ///
    /// The terms are those of [`term`], in the order of its constants, each divided by its
    /// normaliser and multiplied by its weight.
    ///
    /// # Panics
    /// When shapes or devices don't agree.
    pub fn forward(
        &self,
        outputs: Outputs<Tensor<3>>,
        targets: LossTargets,
        normalizer: &Normalizer,
    ) -> LossTerms {
        let LossConfig {
            alpha,
            gamma,
            weights,
            ..
        } = self.config;
        let background = targets.labels.clone().lower_elem(0);
        let cls = sigmoid_focal_loss(outputs.cls_logits, targets.labels, alpha, gamma);
        let box_targets = (targets.ltrb, targets.centerness.clone());
        let bbox = self.box_loss(outputs.ltrb, box_targets, background.clone());
        let logits = outputs.centerness.squeeze_dim(2);
        let centerness = centerness_loss(logits, targets.centerness, background);
        let cls = scale(cls, weights.cls, normalizer.classification);
        let bbox = scale(bbox, weights.bbox, self.box_normalizer(normalizer));
        let centerness = scale(centerness, weights.centerness, normalizer.regression);
        let mut terms = LossTerms::new(term::CLS, cls);
        terms.push(term::BBOX, bbox);
        terms.push(term::CENTERNESS, centerness);
        terms
    }

    /// Sum over positive locations. Background is replaced by a unit box before the formula and
    /// dropped after it: a product with 0 alone would turn an infinite gradient into NaN.
    fn box_loss(
        &self,
        predicted: Tensor<3>,
        (target, centerness): (Tensor<3>, Tensor<2>),
        background: Tensor<2, Bool>,
    ) -> Tensor<1> {
        let no_box = background
            .clone()
            .unsqueeze_dim::<3>(2)
            .expand(predicted.dims());
        let loss = iou_loss(
            predicted.mask_fill(no_box.clone(), 1.0),
            target.mask_fill(no_box, 1.0),
            self.config.box_loss,
            self.config.smoothing,
        );
        let loss = match self.config.box_weighting {
            BoxWeighting::Centerness => loss * centerness,
            BoxWeighting::Uniform => loss,
        };
        loss.mask_fill(background, 0.0).sum()
    }

    fn box_normalizer(&self, normalizer: &Normalizer) -> f32 {
        match self.config.box_weighting {
            BoxWeighting::Centerness => normalizer.centerness_sum,
            BoxWeighting::Uniform => normalizer.regression,
        }
    }
}

fn scale(sum: Tensor<1>, weight: f64, normalizer: f32) -> Tensor<1> {
    sum * (weight / f64::from(normalizer))
}
