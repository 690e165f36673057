"""Rows of custody: where we stand on each chain, whose addresses are whose, what came in and what goes out.

State and constraints only: the services move them on. Amounts are coins as decimals; the chain package counts base units.
"""

from typing import ClassVar

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q

from dj_wallet.ledger.fields import MoneyField
from dj_wallet.ledger.ids import uuid7
from dj_wallet.ledger.money import ZERO

MAX_NETWORK_LENGTH = 32
HASH_LENGTH = 64
MAX_ADDRESS_LENGTH = 100
# P2PKH is 50, P2SH 46, the longest witness program 84 hexadecimal digits.
MAX_SCRIPT_LENGTH = 84


class Chain(models.Model):
    """One network that we serve: how far we have read it, how its node does, and what the operator allows.

    `height` and `block_hash` are the cursor: the last block whose outputs are in our rows. One block is one transaction
    that moves the cursor, so whoever dies leaves a cursor that tells the truth.
    """

    class State(models.TextChoices):
        NEW = "new", "Not read yet"
        READY = "ready", "Up to date"
        READING = "reading", "Reading blocks"
        NODE_DOWN = "node_down", "The node does not answer"
        NODE_BEHIND = "node_behind", "The node knows less work than we have seen"
        WRONG_CHAIN = "wrong_chain", "The node serves another chain"
        HALTED = "halted", "A reorganization is deeper than we follow"

    network = models.CharField(max_length=MAX_NETWORK_LENGTH, primary_key=True)
    asset = models.ForeignKey("dj_wallet.Asset", on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=12, choices=State.choices, default=State.NEW)
    state_note = models.CharField(max_length=300, blank=True, default="")
    height = models.BigIntegerField(null=True, editable=False)
    block_hash = models.CharField(max_length=HASH_LENGTH, blank=True, default="", editable=False)
    chainwork = models.CharField(max_length=HASH_LENGTH, blank=True, default="", editable=False)
    node_height = models.BigIntegerField(null=True, editable=False)
    scanned_at = models.DateTimeField(null=True, editable=False)
    fee_rate_per_kb = MoneyField(null=True, editable=False)
    frozen_because = models.CharField(
        max_length=300, blank=True, default="", help_text="Not empty: nothing leaves."
    )

    confirmations = models.PositiveIntegerField(default=6, validators=[MinValueValidator(1)])
    min_deposit = MoneyField(default=ZERO, help_text="A smaller deposit is kept, not credited.")
    is_paused = models.BooleanField(default=False, help_text="No new withdrawals are taken.")
    pause_below = MoneyField(
        null=True, blank=True, help_text="Take no withdrawal while the hot wallet holds less."
    )
    min_withdrawal = MoneyField(default=ZERO)
    max_withdrawal = MoneyField(null=True, blank=True)
    daily_limit = MoneyField(null=True, blank=True, help_text="Of one wallet in 24 hours.")
    hourly_count = models.PositiveIntegerField(null=True, blank=True, help_text="Of one wallet.")
    approval_above = MoneyField(
        null=True, blank=True, help_text="Larger withdrawals wait for approvals."
    )
    required_approvals = models.PositiveSmallIntegerField(default=1)
    only_allowed_addresses = models.BooleanField(default=False)
    cooling_off_hours = models.PositiveIntegerField(
        default=24, help_text="How long a new allowed address waits."
    )
    withdrawal_fee = MoneyField(
        null=True, blank=True, help_text="What a withdrawal costs; empty: what the network asks."
    )
    cold_address = models.CharField(max_length=MAX_ADDRESS_LENGTH, blank=True, default="")

    class Meta:
        verbose_name = "network"
        constraints = [
            models.UniqueConstraint(fields=["asset"], name="dj_wallet_chain_one_per_asset"),
            models.CheckConstraint(
                condition=Q(height__isnull=True, block_hash="") | ~Q(block_hash=""),
                name="dj_wallet_chain_cursor_is_whole",
            ),
            models.CheckConstraint(
                condition=Q(confirmations__gte=1), name="dj_wallet_chain_confirms"
            ),
        ]

    def __str__(self) -> str:
        return self.network

    @property
    def system_account(self) -> str:
        """The code of the account that stands for what is outside on the chain."""
        return f"external:chain:{self.asset_id}"


class Block(models.Model):
    """A block that we have read and may have to undo. Only the newest are kept."""

    chain = models.ForeignKey(Chain, on_delete=models.CASCADE, related_name="blocks")
    height = models.BigIntegerField()
    hash = models.CharField(max_length=HASH_LENGTH)
    chainwork = models.CharField(max_length=HASH_LENGTH)
    read_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["chain", "height"], name="dj_wallet_block_height")
        ]

    def __str__(self) -> str:
        return f"{self.chain_id} {self.height}"


class KeyAccount(models.Model):
    """An account of keys (m/44'/coin'/account') by its identifier, and which of its keys come next. No key is here."""

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="key_accounts")
    identifier = models.CharField(max_length=100)
    next_deposit_index = models.PositiveIntegerField(default=0, editable=False)
    next_change_index = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["chain", "identifier"], name="dj_wallet_keyaccount_identifier"
            )
        ]

    def __str__(self) -> str:
        return f"{self.chain_id} {self.identifier}"


class Address(models.Model):
    """An address of ours, watched for ever: whoever pays one that was handed out years ago is credited.

    `script` is what the chain shows; the scanner joins the outputs of a block against its index.
    """

    class Purpose(models.TextChoices):
        DEPOSIT = "deposit", "Deposits of a wallet"
        CHANGE = "change", "Our own change"

    uuid = models.UUIDField(default=uuid7, unique=True, editable=False)
    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+", db_index=False)
    key_account = models.ForeignKey(KeyAccount, on_delete=models.PROTECT, related_name="addresses")
    purpose = models.CharField(max_length=7, choices=Purpose.choices)
    derivation_index = models.PositiveIntegerField()
    address = models.CharField(max_length=MAX_ADDRESS_LENGTH)
    script = models.CharField(max_length=MAX_SCRIPT_LENGTH)
    wallet = models.ForeignKey(
        "dj_wallet.Wallet", on_delete=models.PROTECT, null=True, related_name="deposit_addresses"
    )
    is_current = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "addresses"
        constraints = [
            models.UniqueConstraint(fields=["chain", "script"], name="dj_wallet_address_script"),
            models.UniqueConstraint(fields=["chain", "address"], name="dj_wallet_address_address"),
            models.UniqueConstraint(
                fields=["key_account", "purpose", "derivation_index"],
                name="dj_wallet_address_derivation",
            ),
            models.UniqueConstraint(
                fields=["chain", "wallet"],
                condition=Q(is_current=True),
                name="dj_wallet_address_one_current",
            ),
            models.CheckConstraint(
                condition=Q(purpose="deposit", wallet__isnull=False)
                | Q(purpose="change", wallet__isnull=True, is_current=False),
                name="dj_wallet_address_deposit_has_wallet",
            ),
        ]

    def __str__(self) -> str:
        return self.address


class DepositAddressManager(models.Manager["DepositAddress"]):
    """Addresses of wallets."""

    def get_queryset(self) -> "models.QuerySet[DepositAddress]":
        return super().get_queryset().filter(purpose=Address.Purpose.DEPOSIT)


class DepositAddress(Address):
    """Seed 001's name for the address of a wallet."""

    objects: ClassVar = DepositAddressManager()

    class Meta:
        proxy = True
        verbose_name_plural = "deposit addresses"

    @property
    def user_id(self) -> object:
        """The key of the wallet's holder."""
        return self.wallet.holder_id if self.wallet else None


class AllowedAddress(models.Model):
    """A destination that a wallet may withdraw to once its cooling-off has passed."""

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+")
    wallet = models.ForeignKey(
        "dj_wallet.Wallet", on_delete=models.PROTECT, related_name="allowed_addresses"
    )
    address = models.CharField(max_length=MAX_ADDRESS_LENGTH)
    usable_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "allowed addresses"
        constraints = [
            models.UniqueConstraint(
                fields=["chain", "wallet", "address"], name="dj_wallet_allowedaddress_once"
            )
        ]

    def __str__(self) -> str:
        return self.address


class WithdrawalRequest(models.Model):
    """A withdrawal of coins, with seed 001's statuses.

        PENDING -> PROCESSING -> BROADCAST <-> CONFIRMED
           '-----------'-> FAILED  (only while no transaction of it was ever sent)

    PENDING: the money is held; it waits for approvals or its turn, and may be cancelled. PROCESSING: outputs of ours are
    reserved for it. BROADCAST: a transaction may be known to the network, so that it can only end well or be replaced.
    CONFIRMED: deep enough in the chain; a deep reorganization takes it back to BROADCAST.
    """

    class Status(models.TextChoices):
        PENDING = "PENDING", "Pending"
        PROCESSING = "PROCESSING", "Processing"
        BROADCAST = "BROADCAST", "Broadcast"
        CONFIRMED = "CONFIRMED", "Confirmed"
        FAILED = "FAILED", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="withdrawals")
    wallet = models.ForeignKey(
        "dj_wallet.Wallet", on_delete=models.PROTECT, related_name="withdrawal_requests"
    )
    transaction = models.OneToOneField(
        "dj_wallet.Transaction",
        on_delete=models.PROTECT,
        related_name="withdrawal_request",
        editable=False,
    )
    amount = MoneyField()
    fee = MoneyField()
    fee_subtracted = models.BooleanField(default=False)
    max_network_fee = MoneyField()
    destination_address = models.CharField(max_length=MAX_ADDRESS_LENGTH)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)
    txid = models.CharField(max_length=HASH_LENGTH, null=True)
    seal = models.BinaryField(editable=False, default=b"")
    needed_approvals = models.PositiveSmallIntegerField(default=0)
    hold_reason = models.CharField(max_length=64, blank=True, default="")
    failure_code = models.CharField(max_length=64, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["chain", "id"],
                condition=Q(status="PENDING"),
                name="dj_wallet_withdrawal_pending",
            ),
            models.Index(
                fields=["chain", "id"],
                condition=Q(status="BROADCAST"),
                name="dj_wallet_withdrawal_broadcast",
            ),
            models.Index(fields=["wallet", "created_at"], name="dj_wallet_withdrawal_wallet"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(amount__gt=0, fee__gte=0), name="dj_wallet_withdrawal_amounts"
            ),
            models.CheckConstraint(
                condition=Q(status="FAILED") | Q(failure_code=""),
                name="dj_wallet_withdrawal_only_failed_has_code",
            ),
        ]

    def __str__(self) -> str:
        return f"Withdrawal {self.id} [{self.status}]"


class Approval(models.Model):
    """Somebody else's yes to a large withdrawal."""

    withdrawal = models.ForeignKey(
        WithdrawalRequest, on_delete=models.PROTECT, related_name="approvals"
    )
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["withdrawal", "approver"], name="dj_wallet_approval_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.approver} approved {self.withdrawal_id}"


class Spend(models.Model):
    """Outputs of ours that are being spent together: for one withdrawal, or (without one) to cold storage.

    All its transactions, the first and its replacements, spend the same outputs, so at most one can ever be mined. An
    output belongs to one spend at most: that is its reservation.
    """

    uuid = models.UUIDField(default=uuid7, unique=True, editable=False)
    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+")
    withdrawal = models.OneToOneField(
        WithdrawalRequest, on_delete=models.PROTECT, null=True, related_name="spend"
    )
    change = models.OneToOneField(
        Address, on_delete=models.PROTECT, null=True, related_name="+", editable=False
    )
    # What is in the books: the amount that left and the network's fee, of the transaction that was confirmed.
    settled = models.ForeignKey(
        "ChainTransaction", on_delete=models.PROTECT, null=True, related_name="+"
    )
    settlements = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["chain"],
                condition=Q(settled__isnull=True),
                name="dj_wallet_spend_unsettled",
            )
        ]

    def __str__(self) -> str:
        return f"Spend {self.uuid}"


class ChainTransaction(models.Model):
    """A transaction of ours: asked for, signed, sent.

        unsigned -> signed -> sent
            '-> refused (by the signer)

    `raw` is stored before anything is sent, and what is sent again is always these bytes: a second payment cannot
    come of it. Where it is in the chain, `height` says. `token` grows with each claim of the broadcaster.
    """

    class Status(models.TextChoices):
        UNSIGNED = "unsigned", "Unsigned"
        SIGNED = "signed", "Signed"
        SENT = "sent", "Sent"
        REFUSED = "refused", "Refused by the signer"

    uuid = models.UUIDField(default=uuid7, unique=True, editable=False)
    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+")
    spend = models.ForeignKey(Spend, on_delete=models.PROTECT, related_name="transactions")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.UNSIGNED)
    unsigned = models.BinaryField(editable=False)
    amount = MoneyField(help_text="What leaves us, without the network's fee.")
    change_amount = MoneyField(default=ZERO)
    network_fee = MoneyField()
    # How many of our own unconfirmed transactions this one stands on, itself included.
    depth = models.PositiveSmallIntegerField(default=1)
    raw = models.BinaryField(null=True, editable=False)
    txid = models.CharField(max_length=HASH_LENGTH, null=True)
    height = models.BigIntegerField(null=True)
    block_hash = models.CharField(max_length=HASH_LENGTH, blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="")
    token = models.PositiveIntegerField(default=0)
    lease_until = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    accepted_at = models.DateTimeField(null=True)
    send_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["chain", "id"],
                condition=Q(status="unsigned"),
                name="dj_wallet_chaintx_unsigned",
            ),
            models.Index(
                fields=["chain", "send_at"],
                condition=Q(status__in=["signed", "sent"], height__isnull=True),
                name="dj_wallet_chaintx_send",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["chain", "txid"], name="dj_wallet_chaintx_txid"),
            models.CheckConstraint(
                condition=Q(status__in=["unsigned", "refused"])
                | Q(raw__isnull=False, txid__isnull=False),
                name="dj_wallet_chaintx_raw_before_sending",
            ),
        ]

    def __str__(self) -> str:
        return self.txid or f"unsigned {self.uuid}"


class PreviousTransaction(models.Model):
    """The bytes of a transaction that made outputs of ours: the signer proves amounts by them."""

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+", db_index=False)
    txid = models.CharField(max_length=HASH_LENGTH)
    raw = models.BinaryField(editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["chain", "txid"], name="dj_wallet_previoustx_txid")
        ]

    def __str__(self) -> str:
        return self.txid


class Output(models.Model):
    """An output that one of our addresses can spend. One row for each outpoint, whatever the chain does with it.

    What the chain says stands in `height`, `block_hash` and `spent_height` (empty: not in a block that we stand on);
    what the books say in `status`:

        seen -> credited (a wallet's) | kept (ours: change, dust, what nobody is owed)
          ^ |       |
          | '-------+-> orphaned (left the chain before it counted)
          '-- reversed (left the chain after it counted, and the credit was taken back)
    """

    class Status(models.TextChoices):
        SEEN = "seen", "Seen"
        CREDITED = "credited", "Credited"
        KEPT = "kept", "Kept, not credited"
        ORPHANED = "orphaned", "Orphaned"
        REVERSED = "reversed", "Reversed"

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="+", db_index=False)
    address = models.ForeignKey(Address, on_delete=models.PROTECT, related_name="outputs")
    txid = models.CharField(max_length=HASH_LENGTH)
    vout = models.PositiveIntegerField()
    amount = MoneyField()
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.SEEN)
    # Made by a transaction of ours: change, which nobody is owed and the books know already.
    made_by = models.ForeignKey(
        ChainTransaction, on_delete=models.PROTECT, null=True, related_name="outputs"
    )
    is_coinbase = models.BooleanField(default=False)
    height = models.BigIntegerField(null=True)
    block_hash = models.CharField(max_length=HASH_LENGTH, blank=True, default="")
    spent_by = models.CharField(max_length=HASH_LENGTH, blank=True, default="")
    spent_height = models.BigIntegerField(null=True)
    # At which height of the cursor it left the chain.
    lost_at = models.BigIntegerField(null=True)
    # How often its credit was taken back: part of the keys of what is booked for it.
    round = models.PositiveSmallIntegerField(default=0)
    entry_id = models.BigIntegerField(null=True)
    spend = models.ForeignKey(Spend, on_delete=models.PROTECT, null=True, related_name="outputs")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["chain", "height"],
                condition=Q(status="seen"),
                name="dj_wallet_output_seen",
            ),
            models.Index(fields=["chain", "height"], name="dj_wallet_output_height"),
            models.Index(
                fields=["chain", "spent_height"],
                condition=Q(spent_height__isnull=False),
                name="dj_wallet_output_spent",
            ),
            models.Index(
                fields=["chain", "amount"],
                condition=Q(spent_height__isnull=True, spend__isnull=True),
                name="dj_wallet_output_free",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["chain", "txid", "vout"], name="dj_wallet_output_outpoint"
            ),
            models.CheckConstraint(condition=Q(amount__gt=0), name="dj_wallet_output_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.txid}:{self.vout}"


class Reconciliation(models.Model):
    """What a comparison of ledger, rows and node found after a block."""

    chain = models.ForeignKey(Chain, on_delete=models.PROTECT, related_name="reconciliations")
    height = models.BigIntegerField()
    block_hash = models.CharField(max_length=HASH_LENGTH)
    ledger = MoneyField()
    outputs = MoneyField()
    # Why they differ, class by class: what is explained adds up to the difference.
    explained = models.JSONField(default=dict)
    unexplained = MoneyField()
    node_problems = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["chain", "-id"], name="dj_wallet_reconciliation_last")]

    def __str__(self) -> str:
        return f"{self.chain_id} at {self.height}: {self.unexplained}"
