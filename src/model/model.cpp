// SPDX-FileCopyrightText: 2026 The megafold authors
// SPDX-License-Identifier: Apache-2.0
#include "model/model.h"

#include <c10/core/GradMode.h>

#include <numeric>

#include "base/errors.h"
#include "batch/templates.h"
#include "model/diffusion_module.h"
#include "model/distogram_head.h"
#include "model/input_embedder.h"
#include "model/msa_module.h"
#include "model/recompute.h"
#include "model/template_embedder.h"
#include "model/token_frames.h"

namespace megafold {
namespace {

/// What the modules read of a batch, in the model's dtype; no gradient goes there.
struct Features {
  AtomFeatures atoms;
  at::Tensor relative;                         // [N, N, 139]
  at::Tensor restype, profile, deletion_mean;  // [N, 32], [N, 32], [N]
  at::Tensor token_bonds;                      // [N, N, 1]
  at::Tensor token_mask, pair_mask;            // bool [N], [N, N]; undefined: every token is real
  at::Tensor asym_id;                          // i64 [N]
  std::optional<TemplateInputs> templates;
};

constexpr int64_t kErrorBins = 64;  // of PAE and PDE, over 0 .. 32 Angstrom

/// A CPU mask that is all ones is left out; on a device it stays, for asking would stop the stream.
bool masks_something(const at::Tensor& mask) {
  return !mask.is_cpu() || mask.lt(1).any().item<bool>();
}

Features features_of(const Batch& b, const Conventions& conventions, at::ScalarType dtype) {
  constexpr const char* kName = "batch";
  expect_shape(kName, "restype", b.restype, {-1});
  const int64_t n = b.restype.size(0);
  for (const auto& [name, tensor] :
       {std::pair<const char*, const at::Tensor*>{"residue_index", &b.residue_index},
        {"token_index", &b.token_index},
        {"asym_id", &b.asym_id},
        {"entity_id", &b.entity_id},
        {"sym_id", &b.sym_id},
        {"token_mask", &b.token_mask},
        {"deletion_mean", &b.deletion_mean}})
    expect_shape(kName, name, *tensor, {n});
  expect_shape(kName, "profile", b.profile, {n, 32});
  expect_shape(kName, "token_bonds", b.token_bonds, {n, n});
  expect_shape(kName, "msa", b.msa, {-1, n});
  expect_shape(kName, "deletion", b.deletion, {b.msa.size(0), n});
  expect_shape(kName, "msa_mask", b.msa_mask, {b.msa.size(0), n});
  expect_shape(kName, "atom_mask", b.atom_mask, {-1});

  Features f;
  f.atoms = atom_features({b.ref_pos, b.ref_charge, b.ref_mask,
                           // Z -> class; padding (Z = 0) becomes class 0 and is masked.
                           (b.ref_element - 1 + conventions.element_of_hydrogen).clamp_min(0),
                           b.ref_atom_name_chars, b.ref_space_uid, b.atom_to_token,
                           masks_something(b.atom_mask) ? b.atom_mask : at::Tensor(), n},
                          conventions, dtype);
  f.relative =
      relative_positions(b.asym_id, b.residue_index, b.entity_id, b.sym_id, b.token_index, dtype);
  f.restype = at::one_hot(b.restype, 32).to(dtype);
  f.profile = b.profile.to(dtype);
  f.deletion_mean = b.deletion_mean.to(dtype);
  f.token_bonds = b.token_bonds.to(dtype).unsqueeze(-1);
  f.asym_id = b.asym_id;
  if (b.template_restype.defined()) {
    const int64_t t = b.template_restype.size(0);
    expect_shape(kName, "template_restype", b.template_restype, {-1, n});
    TemplatePairs made{b.template_distogram, b.template_unit_vector};
    if (!made.distogram.defined() && t > 0) made = template_pairs(b);  // from positions, here
    if (t > 0) {
      expect_shape(kName, "template_distogram", made.distogram, {t, n, n, 39});
      expect_shape(kName, "template_unit_vector", made.unit_vector, {t, n, n, 3});
    }
    const auto pairs = [&](const char* name, const at::Tensor& mask) {
      expect_shape(kName, name, mask, {t, n});
      return mask.unsqueeze(-1) * mask.unsqueeze(-2);
    };
    if (t > 0)
      f.templates =
          TemplateInputs{made.distogram, made.unit_vector,
                         pairs("template_pseudo_beta_mask", b.template_pseudo_beta_mask),
                         pairs("template_backbone_frame_mask", b.template_backbone_frame_mask),
                         b.template_restype};
  }
  if (!f.templates && conventions.empty_template_restype >= 0) {
    const at::Tensor none = at::zeros({1, 1, 1, 1}, f.restype.options());
    const at::Tensor masks = none[0].expand({1, n, n});
    f.templates =
        TemplateInputs{none.expand({1, n, n, 39}), none.expand({1, n, n, 3}), masks, masks,
                       at::full({1, n}, conventions.empty_template_restype, b.restype.options())};
  }
  if (masks_something(b.token_mask)) {
    f.token_mask = b.token_mask.gt(0);
    f.pair_mask = f.token_mask.unsqueeze(1).logical_and(f.token_mask.unsqueeze(0));
  }
  return f;
}

int64_t pair_init_width(const Conventions& conventions, const ModelConfig& c) {
  return conventions.pair_init_from_single ? c.c_s : c.c_s_inputs();
}

/// The rows of a batch's alignment, drawn anew for each cycle (af3-facts 4.4): all that hold
/// anything, or a uniform choice of `limit` of them.
class MsaRows {
 public:
  MsaRows(const Batch& batch, uint64_t seed, int64_t limit, at::ScalarType dtype)
      : batch_(batch),
        limit_(limit),
        dtype_(dtype),
        random_(seed, stream_id(batch.id), batch.visit, Purpose::msa_rows) {
    const at::Tensor valid = batch.msa_mask.gt(0).any(1).cpu();
    for (int64_t i = 0; i < valid.size(0); ++i)
      if (valid.const_data_ptr<bool>()[i]) rows_.push_back(i);
    if (rows_.empty()) fail<BadInput>("{}: no row of the alignment holds anything", batch.id);
  }

  /// features [M, N, 34] and mask [M, N] (undefined: every entry counts).
  std::pair<at::Tensor, at::Tensor> draw() {
    const auto count = static_cast<int64_t>(rows_.size());
    if (count <= limit_ && features_.defined()) return {features_, mask_};
    std::vector<int64_t> rows = rows_;
    if (count > limit_) {
      for (size_t i = 0; i < static_cast<size_t>(limit_); ++i)
        std::swap(rows[i], rows[i + random_.below(rows.size() - i)]);
      rows.resize(static_cast<size_t>(limit_));
    }
    const at::Tensor index = at::tensor(rows, at::kLong).to(batch_.msa.device());
    features_ = msa_features(batch_.msa.index_select(0, index).to(at::kLong),
                             batch_.deletion.index_select(0, index).to(dtype_));
    mask_ = batch_.msa_mask.index_select(0, index).to(dtype_);
    if (!masks_something(mask_)) mask_ = at::Tensor();
    return {features_, mask_};
  }

 private:
  const Batch& batch_;
  int64_t limit_;
  at::ScalarType dtype_;
  Random random_;
  std::vector<int64_t> rows_;
  at::Tensor features_, mask_;
};

}  // namespace

struct Model::Modules {
  ModelConfig config;
  Conventions conventions;
  Parameters parameters;

  InputEmbedder input_embedder;
  Linear relative_position, token_bond, single_init, pair_init_row, pair_init_column;
  LayerNorm recycle_norm_z, recycle_norm_s;
  Linear recycle_pair, recycle_single;
  std::optional<TemplateEmbedder> template_embedder;
  MsaModule msa_module;
  PairformerStack pairformer;
  DiffusionModule diffusion;
  DistogramHead distogram;
  std::optional<ConfidenceHead> confidence;

  Modules(const ModelConfig& c, uint64_t seed) : Modules(c, Scope(parameters, seed)) {}

  [[nodiscard]] at::ScalarType dtype() const { return single_init.weight.scalar_type(); }
  [[nodiscard]] at::Device device() const { return single_init.weight.device(); }

  /// Algorithm 1's trunk, activations of `type` inside; its output is in the weights' type.
  [[nodiscard]] TrunkOutput trunk(const Features& f, MsaRows& rows, int64_t cycles, Dropout& drop,
                                  std::optional<at::ScalarType> type) const;
  /// Algorithm 18 on a prepared diffusion module: [S, A, 3] for the S streams.
  [[nodiscard]] at::Tensor sample(const Batch& batch, const Features& f,
                                  const DiffusionModule::Prepared& prepared, int64_t steps,
                                  SampleStreams streams) const;
  [[nodiscard]] std::vector<ConfidenceLogits> judge(const Batch& batch, const Features& f,
                                                    const TrunkOutput& trunk, const at::Tensor& x,
                                                    Dropout& drop) const;
  void require_here(const Batch& batch) const {
    if (batch.restype.defined() && batch.restype.device() != device())
      fail<BadInput>("{}: the batch is on {}, the model on {}", batch.id,
                     batch.restype.device().str(), device().str());
  }

 private:
  Modules(const ModelConfig& c, const Scope& root)
      : config(c),
        conventions(conventions_of(c.dialect)),
        input_embedder(root / "input_embedder", conventions,
                       {c.c_atom, c.c_atompair, c.c_token_input, c.atom_blocks, c.atom_heads}),
        relative_position(root / "relative_position", kRelativePositions, c.c_z),
        token_bond(root / "token_bond", 1, c.c_z),
        single_init(root / "single_init", c.c_s_inputs(), c.c_s),
        pair_init_row(root / "pair_init_row", pair_init_width(conventions, c), c.c_z),
        pair_init_column(root / "pair_init_column", pair_init_width(conventions, c), c.c_z),
        recycle_norm_z(root / "recycle_norm_z", c.c_z),
        recycle_norm_s(root / "recycle_norm_s", c.c_s),
        recycle_pair(root / "recycle_pair", c.c_z, c.c_z, kZeros),
        recycle_single(root / "recycle_single", c.c_s, c.c_s, kZeros),
        msa_module(root / "msa_module", conventions, c, c.c_s_inputs()),
        pairformer(root / "pairformer", conventions, PairSizes::of(c), c.c_s, c.single_heads,
                   c.pairformer_blocks),
        diffusion(root / "diffusion", conventions,
                  {{c.c_atom, c.c_atompair, c.c_token, c.atom_blocks, c.atom_heads},
                   c.c_s,
                   c.c_z,
                   c.c_s_inputs(),
                   c.fourier_width,
                   c.diffusion_blocks,
                   c.diffusion_heads}),
        distogram(root / "distogram", conventions, c.c_z, c.distogram_bins) {
    if (c.template_blocks > 0)
      template_embedder.emplace(
          root / "template_embedder", conventions,
          PairSizes{c.c_template, c.template_multiplication_width, c.template_attention_heads,
                    c.template_attention_width, /*transition_factor=*/2, c.pair_dropout},
          c.c_z, c.template_blocks);
    if (c.confidence_blocks == 0) return;
    PairSizes pair = PairSizes::of(c);
    pair.dropout = c.confidence_dropout;
    confidence.emplace(
        root / "confidence", conventions,
        ConfidenceSizes{pair, c.c_s, c.c_s_inputs(), c.single_heads, c.confidence_blocks,
                        kErrorBins, kErrorBins, c.max_atoms_per_token});
  }
};

TrunkOutput Model::Modules::trunk(const Features& f, MsaRows& rows, int64_t cycles, Dropout& drop,
                                  std::optional<at::ScalarType> type) const {
  const auto cast = [&](const at::Tensor& t) { return t.to(type.value_or(dtype())); };
  const at::Tensor s_inputs = input_embedder(f.atoms, f.restype, f.profile, f.deletion_mean);
  const at::Tensor s_init = single_init(s_inputs);
  const at::Tensor pair_from = cast(conventions.pair_init_from_single ? s_init : s_inputs);
  const at::Tensor z_init = pair_init_row(pair_from).unsqueeze(1) +
                            pair_init_column(pair_from).unsqueeze(0) +
                            relative_position(cast(f.relative)) + token_bond(cast(f.token_bonds));
  const at::Tensor inputs = cast(s_inputs), s_start = cast(s_init);
  const bool with_gradient = c10::GradMode::is_enabled();
  at::Tensor s, z;
  for (int64_t cycle = 0; cycle < cycles; ++cycle) {
    const c10::AutoGradMode mode(with_gradient && cycle + 1 == cycles);
    // Before the first cycle s and z are zeros, and LN(0) is the offset.
    z = z_init + recycle_pair(cycle == 0 ? cast(recycle_norm_z.bias) : recycle_norm_z(z));
    if (template_embedder && f.templates)
      z = z + (*template_embedder)(*f.templates, f.asym_id, z, f.pair_mask, drop);
    const auto [features, msa_mask] = rows.draw();
    z = msa_module(cast(features), inputs, z, msa_mask, f.token_mask, f.pair_mask, drop);
    s = s_start + recycle_single(cycle == 0 ? cast(recycle_norm_s.bias) : recycle_norm_s(s));
    pairformer(s, z, f.token_mask, f.pair_mask, drop);
  }
  return {s_inputs, s.to(dtype()), z.to(dtype())};
}

at::Tensor Model::Modules::sample(const Batch& batch, const Features& f,
                                  const DiffusionModule::Prepared& prepared, int64_t steps,
                                  SampleStreams streams) const {
  const auto here = at::TensorOptions(device()).dtype(dtype());
  const int64_t atoms = batch.num_atoms();
  const at::Tensor weight = f.atoms.mask.defined() ? batch.atom_mask.to(here) : at::Tensor();
  return sample_diffusion(
      noise_schedule(steps, conventions), streams.normal({atoms, 3}).to(here), weight,
      [&](int64_t) {
        const auto [rotation, shift] = streams.rigid();
        return SamplerStep{rotation.to(here), shift.to(here), streams.normal({atoms, 3}).to(here)};
      },
      [&](const at::Tensor& x, const at::Tensor& t) { return diffusion(f.atoms, prepared, x, t); });
}

std::vector<ConfidenceLogits> Model::Modules::judge(const Batch& batch, const Features& f,
                                                    const TrunkOutput& trunk, const at::Tensor& x,
                                                    Dropout& drop) const {
  const at::Tensor place = atom_in_token(batch.atom_to_token, batch.num_tokens());
  if (place.is_cpu()) {
    // Padding has no token of its own: what its rows hold is read by nothing.
    const int64_t most = at::where(batch.atom_mask.gt(0), place, 0).max().item<int64_t>();
    if (most >= config.max_atoms_per_token)
      fail<BadInput>("{}: a token has {} atoms; model.max_atoms_per_token is {}", batch.id,
                     most + 1, config.max_atoms_per_token);
  }
  const at::Tensor row = place.clamp_max(config.max_atoms_per_token - 1);
  const at::Tensor rep = distance_atoms(batch);
  std::vector<ConfidenceLogits> out;
  for (int64_t s = 0; s < x.size(0); ++s)
    out.push_back((*confidence)(trunk.s_inputs, trunk.s, trunk.z, x[s].index_select(0, rep),
                                batch.atom_to_token, row, f.token_mask, f.pair_mask, drop));
  return out;
}

Model::Model(const ModelConfig& config, uint64_t seed) {
  config.validate();
  modules_ = std::make_unique<Modules>(config, seed);
}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const ModelConfig& Model::config() const {
  return modules_->config;
}
Parameters& Model::parameters() {
  return modules_->parameters;
}
const Parameters& Model::parameters() const {
  return modules_->parameters;
}

TrainingOutput Model::forward_train(const Batch& batch, const TrainOptions& options) const {
  const Modules& m = *modules_;
  m.require_here(batch);
  expect_shape("batch", "atom_positions", batch.atom_positions, {batch.num_atoms(), 3});
  expect_shape("batch", "atom_resolved_mask", batch.atom_resolved_mask, {batch.num_atoms()});
  const RecomputeMode recompute(options.recompute);
  const uint64_t seed = options.seed, id = stream_id(batch.id), visit = batch.visit;
  const Features f = features_of(batch, m.conventions, m.dtype());

  TrainingOutput out;
  out.cycles =
      options.cycles > 0
          ? options.cycles
          : 1 + static_cast<int64_t>(Random(seed, id, visit, Purpose::recycles)
                                         .below(static_cast<uint64_t>(m.config.max_cycles)));
  Dropout drop = options.dropout ? Dropout(Random(seed, id, visit, Purpose::dropout)) : Dropout();
  MsaRows rows(batch, seed, m.config.msa_rows, m.dtype());
  const TrunkOutput trunk = m.trunk(f, rows, out.cycles, drop, options.trunk_type);
  out.distogram_logits = m.distogram(trunk.z);

  const int64_t samples = options.samples > 0 ? options.samples : m.config.diffusion_samples;
  const auto here = at::TensorOptions(m.device()).dtype(m.dtype());
  const auto streams = [&](Purpose purpose) {
    return SampleStreams(seed, id, visit, purpose, samples);
  };
  const auto prepared =
      m.diffusion.prepare(f.atoms, f.relative, trunk.s_inputs, trunk.s, trunk.z, f.token_mask);
  out.labels = {batch.atom_positions, batch.atom_resolved_mask};
  const bool judged = m.confidence && options.confidence;
  if (options.rollout_steps > 0 && (options.labels || judged)) {
    {
      const c10::NoGradGuard no_grad;
      out.x_rollout = m.sample(batch, f, prepared, options.rollout_steps,
                               SampleStreams(seed, id, visit, Purpose::rollout, 1));
    }
    if (options.labels) out.labels = options.labels(batch, out.x_rollout[0]);
    if (judged) out.confidence = m.judge(batch, f, trunk, out.x_rollout, drop).front();
  }
  const auto [rotation, shift] = streams(Purpose::augmentation).rigid();
  const NoisedTruth noised = add_training_noise(
      out.labels.positions.to(here), out.labels.resolved.to(here),
      {streams(Purpose::noise_level).normal({}).to(here), rotation.to(here), shift.to(here),
       streams(Purpose::noise).normal({batch.num_atoms(), 3}).to(here)},
      options.noise);
  out.x_true = noised.x_true, out.x_noisy = noised.x_noisy, out.t_hat = noised.t_hat;
  out.x_denoised = m.diffusion(f.atoms, prepared, out.x_noisy, out.t_hat);
  return out;
}

std::vector<ConfidenceLogits> Model::confidence(const Batch& batch, const TrunkOutput& trunk,
                                                const at::Tensor& x) const {
  const Modules& m = *modules_;
  m.require_here(batch);
  if (!m.confidence)
    fail<Unsupported>("{}: the model has no confidence head (model.confidence_blocks is 0)",
                      batch.id);
  expect_shape("confidence", "x", x, {-1, batch.num_atoms(), 3});
  Dropout off;
  return m.judge(batch, features_of(batch, m.conventions, m.dtype()), trunk, x, off);
}

Denoised Model::denoise(const Batch& batch, const at::Tensor& x_noisy, const at::Tensor& t_hat,
                        int64_t cycles, Dropout drop) const {
  const Modules& m = *modules_;
  m.require_here(batch);
  expect_shape("denoise", "x_noisy", x_noisy, {-1, batch.num_atoms(), 3});
  expect_shape("denoise", "t_hat", t_hat, {x_noisy.size(0)});
  const Features f = features_of(batch, m.conventions, m.dtype());
  MsaRows rows(batch, 0, m.config.msa_rows, m.dtype());
  Denoised out;
  out.trunk = m.trunk(f, rows, cycles, drop, std::nullopt);
  out.distogram_logits = m.distogram(out.trunk.z);
  const auto prepared = m.diffusion.prepare(f.atoms, f.relative, out.trunk.s_inputs, out.trunk.s,
                                            out.trunk.z, f.token_mask);
  out.x_denoised = m.diffusion(f.atoms, prepared, x_noisy, t_hat);
  return out;
}

Samples Model::sample(const Batch& batch, const SampleOptions& options) const {
  const c10::NoGradGuard no_grad;
  const Modules& m = *modules_;
  m.require_here(batch);
  const Features f = features_of(batch, m.conventions, m.dtype());
  MsaRows rows(batch, options.seed, m.config.msa_rows, m.dtype());
  Dropout off;
  const TrunkOutput trunk =
      m.trunk(f, rows, options.cycles > 0 ? options.cycles : m.config.max_cycles, off, {});
  const auto prepared =
      m.diffusion.prepare(f.atoms, f.relative, trunk.s_inputs, trunk.s, trunk.z, f.token_mask);
  Samples out;
  out.distogram_logits = m.distogram(trunk.z);
  out.x = m.sample(batch, f, prepared, options.steps > 0 ? options.steps : m.config.sampler_steps,
                   SampleStreams(options.seed, stream_id(batch.id), batch.visit, Purpose::sampler,
                                 options.samples));
  if (m.confidence) out.confidence = m.judge(batch, f, trunk, out.x, off);
  return out;
}

}  // namespace megafold
