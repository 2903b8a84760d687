"""From settings to a backbone."""

from graphadapt.backbone.network import MoleculeNetwork
from graphadapt.backbone.neural_fingerprint import NeuralFingerprint
from graphadapt.config import BackboneConfig
from graphadapt.errors import ConfigError

__all__ = ["build_backbone"]


def build_backbone(config: BackboneConfig) -> MoleculeNetwork | NeuralFingerprint:
    """The network that the settings describe, at random weights.

    Raises:
        ConfigError: if ``config.kind`` is ``none``, which has no network.
    """
    if config.kind == "none":
        raise ConfigError("backbone.kind='none' has no network to build; use gin or gcn")
    if config.kind == "neural-fingerprint":
        return NeuralFingerprint(
            width=config.width,
            layers=config.layers,
            fingerprint_width=config.fingerprint_width,
            embedding_width=config.embedding_width,
            dropout=config.dropout,
            message_passing=config.message_passing,
        )
    return MoleculeNetwork(
        convolution="gin" if config.kind.startswith("gin") else "gcn",
        width=config.width,
        layers=config.layers,
        virtual_node=config.kind.endswith("virtual-node"),
        dropout=config.dropout,
        pooling=config.pooling,
        jumping_knowledge=config.jumping_knowledge,
        message_passing=config.message_passing,
    )
