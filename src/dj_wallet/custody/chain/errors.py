"""What the chain, its node and the signer refuse.

    ChainError
    +-- AddressInvalid           not an address, or not in its canonical form
    +-- AddressOfOtherNetwork    an address, of a network that this one is not
    +-- KeyInvalid               not an extended key, not of this network, or not the pair it claims to be
    +-- TransactionInvalid       bytes that are no transaction, or a transaction that cannot be
    +-- FundsShort               the outputs at hand do not carry payment and fee
    +-- FeeTooHigh               the fee passes the cap
    +-- SigningRefused           the signer does not sign this (`reason` says why)
    +-- NodeError
        +-- CallNotAllowed       not one of the eleven calls we speak (a mistake of ours, nothing was sent)
        +-- NodeUnreachable      nothing was sent: ask again
        +-- NodeTimedOut         sent, and no whole answer came: whether it happened is unknown
        +-- NodeRefused          the node answered with an error; `rpc_code` is what to decide by, never the text
        +-- NodeAnswerInvalid    the node answered with what is not JSON-RPC: unknown as well
        +-- NodeOfOtherChain     genesis or name of the chain are not those configured

No message carries a key, an extended public key or the node's password.
"""

from typing import ClassVar


class ChainError(Exception):
    """Base of everything in this package that is refused."""

    code: ClassVar[str] = "chain_error"


class AddressInvalid(ChainError):
    """It is no address."""

    code = "address_invalid"


class AddressOfOtherNetwork(AddressInvalid):
    """It is an address, but money sent there does not arrive on this network."""

    code = "address_of_other_network"


class KeyInvalid(ChainError):
    """It is no extended key, or not the one it claims to be."""

    code = "key_invalid"


class TransactionInvalid(ChainError):
    """It is no transaction."""

    code = "transaction_invalid"


class FundsShort(ChainError):
    """The outputs at hand do not carry the payment and its fee."""

    code = "funds_short"


class FeeTooHigh(ChainError):
    """The fee passes the cap of the network or of the caller."""

    code = "fee_too_high"


class SigningRefused(ChainError):
    """The signer does not sign this; `reason` is a stable word for the why."""

    code = "signing_refused"

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {message}")


class NodeError(ChainError):
    """The node did not do it, or did not say so."""

    code = "node_error"


class CallNotAllowed(NodeError):
    """The call is none of those that all our nodes understand alike; nothing was sent."""

    code = "node_call_not_allowed"


class NodeUnreachable(NodeError):
    """No connection: certainly nothing was sent."""

    code = "node_unreachable"


class NodeTimedOut(NodeError):
    """The request left and no whole answer came back: whether it was done is unknown."""

    code = "node_timed_out"


class NodeAnswerInvalid(NodeError):
    """What came back is no answer of a node: whether it was done is unknown."""

    code = "node_answer_invalid"


class NodeOfOtherChain(NodeError):
    """The node serves another chain than the configured one."""

    code = "node_of_other_chain"


class NodeRefused(NodeError):
    """The node answered with an error: `rpc_code` and its text."""

    code = "node_refused"

    def __init__(self, rpc_code: int, message: str) -> None:
        self.rpc_code = rpc_code
        super().__init__(f"{rpc_code}: {message}")
