"""The one place that joins backbone, features, adapters, prior and routing.

Shapes: G graphs, T tasks, K adapters, D width of the joined embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from graphadapt.adapters.bank import AdapterBank
from graphadapt.adapters.disagreement import adapter_disagreement
from graphadapt.adapters.sites import SiteBanks
from graphadapt.backbone.dropout import Dropout
from graphadapt.backbone.layered import LayeredBackbone, LayerState
from graphadapt.backbone.protocol import LinearCall, call_linear
from graphadapt.data.store import TaskInfo
from graphadapt.graphs.batch import GraphBatch
from graphadapt.readout.branch_dropout import BranchDropout
from graphadapt.readout.features import FeatureEmbedding
from graphadapt.readout.head import TaskReadout
from graphadapt.readout.scaling import TargetScaling
from graphadapt.routing.composition import mix_sites
from graphadapt.routing.task_routing import TaskRouting

__all__ = ["READOUT", "Answer", "ComposedModel"]

DROPOUTS = (
    Dropout,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)

READOUT = "readout"
"""Name of the site at the heads, where each task keeps its own weights."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one forward pass gives."""

    logits: Tensor
    """(G, T): logits of binary tasks, standardised values of regression tasks."""

    gates: Mapping[str, Tensor]
    """(T, K) routing weights of every site."""

    distances: Mapping[str, Tensor] = field(default_factory=dict)
    """(K, K) disagreement of the adapters at every site, where it was measured."""


class ComposedModel(nn.Module):
    r"""A backbone whose linear layers and heads are corrected by mixed adapters.

    At an inner site the composition w decides, :math:`\alpha_k = \sum_t w_t g_{t,k}`; at the
    readout every task keeps its own :math:`g_t`.

    Args:
        tasks: name, kind and units of each task, in order of the output's columns.
        backbone: message-passing network; ``None`` reads molecule-level features only.
        features: embedding of molecule-level features, or ``None``.
        readout: heads over the joined embedding ``[backbone, features]``.
        banks: adapters at the backbone's inner sites, or ``None``.
        routing: gates for every site that holds a bank; ``None`` without adapters.
        scaling: of the regression targets.
        graph_share: p of :class:`BranchDropout` where there are both embeddings.
    """

    def __init__(
        self,
        *,
        tasks: tuple[TaskInfo, ...],
        backbone: nn.Module | None,
        features: FeatureEmbedding | None,
        readout: TaskReadout,
        banks: SiteBanks | None,
        routing: TaskRouting | None,
        scaling: TargetScaling,
        graph_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.backbone = backbone
        self.features = features
        self.readout = readout
        self.banks = banks
        self.routing = routing
        self.scaling = scaling
        self.branches = BranchDropout(graph_share)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the inner sites that hold a bank."""
        return () if self.banks is None else self.banks.names

    @property
    def backbone_is_frozen(self) -> bool:
        """Whether none of the backbone's own weights move."""
        held = [] if self.backbone is None else list(self.backbone.parameters())
        return not any(parameter.requires_grad for parameter in held)

    @property
    def first_moving_layer(self) -> int:
        """The backbone's first layer that training changes, one past its end if none.

        The layers below give a molecule the same states in every step. A backbone that cannot be
        run layer by layer counts as one layer, 0.
        """
        backbone = self.backbone
        if not isinstance(backbone, LayeredBackbone):
            return 0
        moving = [name for name, weight in backbone.named_parameters() if weight.requires_grad]
        layers = [backbone.layer_of(name) for name in (*moving, *self.sites)]
        return min(layers, default=backbone.num_layers + 1)

    def bank(self, site: str) -> AdapterBank:
        """The adapters at a site; the readout is one.

        Raises:
            KeyError: if the site holds no adapters.
        """
        if site == READOUT and self.readout.bank is not None:
            return self.readout.bank
        if self.banks is None:
            raise KeyError(site)
        return self.banks[site]

    def train(self, mode: bool = True) -> "ComposedModel":
        """Switch mode, but keep a frozen backbone's norms in evaluation mode.

        Its dropout modules follow the mode where adapters learn inside it, and stay off where none
        do: its embeddings may then be kept. Layers below the first adapter drop nothing either way
        in training, as :class:`~graphadapt.trainer.frozen_layers.FrozenLayers` runs them.
        """
        super().train(mode)
        if self.backbone is not None and self.backbone_is_frozen:
            self.backbone.eval()
            for module in self.backbone.modules() if self.sites else ():
                if isinstance(module, DROPOUTS):
                    module.train(mode)
        return self

    def gates(self) -> dict[str, Tensor]:
        """Routing weights of every site, each (T, K) with rows that sum to 1."""
        return {} if self.routing is None else self.routing()

    def forward(
        self, batch: GraphBatch, composition_T: Tensor, *, measures: bool = False
    ) -> Answer:
        """Answer every task for every molecule of the batch.

        Args:
            batch: molecules, with their features where the model reads them.
            composition_T: w, a distribution over tasks; matters at inner sites only.
            measures: whether to measure how far apart the adapters of each site are.
        """
        gates = self.gates()
        graph_embedding_GD, inner = self.encode(batch, composition_T, gates, measures=measures)
        answer = self.answer(graph_embedding_GD, batch.features, gates, measures=measures)
        return Answer(answer.logits, gates, {**inner, **answer.distances})

    def encode(
        self,
        batch: GraphBatch,
        composition_T: Tensor,
        gates: Mapping[str, Tensor],
        *,
        below: LayerState | None = None,
        measures: bool = False,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Graph embedding under a composition, and the inner sites' distances if measured.

        Args:
            batch: molecules.
            composition_T: w.
            gates: routing weights of every site.
            below: states of the batch that are known already, at or below the first site.
            measures: whether to measure distances.
        """
        if self.backbone is None:
            return None, {}
        if self.banks is None:
            return self._embed(batch, below, call_linear), {}
        alphas = mix_sites(composition_T, {site: gates[site] for site in self.sites})
        call = self.banks.call(alphas, measures=measures, batch=batch)
        graph_embedding_GD = self._embed(batch, below, call)
        call.check_all_called()
        return graph_embedding_GD, call.distances

    def _embed(self, batch: GraphBatch, below: LayerState | None, linear: LinearCall) -> Tensor:
        if below is None or not isinstance(self.backbone, LayeredBackbone):
            assert self.backbone is not None
            return self.backbone(batch, linear)
        return self.backbone.embed(below, batch, linear)

    def answer(
        self,
        graph_embedding_GD: Tensor | None,
        features_GM: Tensor | None,
        gates: Mapping[str, Tensor],
        *,
        measures: bool = False,
    ) -> Answer:
        """From embeddings to logits, with the readout's own distances if measured."""
        embedding_GD = self.join(graph_embedding_GD, features_GM)
        bank = self.readout.bank
        distances = {}
        if measures and bank is not None:
            distances[READOUT] = adapter_disagreement(bank, embedding_GD)
        return Answer(self.readout(embedding_GD, gates.get(READOUT)), gates, distances)

    def join(self, graph_embedding_GD: Tensor | None, features_GM: Tensor | None) -> Tensor:
        """Graph embedding and feature embedding side by side, (G, D)."""
        if self.features is None:
            assert graph_embedding_GD is not None
            return graph_embedding_GD
        feature_embedding_GF = self.features(features_GM)
        if graph_embedding_GD is None:
            return feature_embedding_GF
        return self.branches(graph_embedding_GD, feature_embedding_GF)
