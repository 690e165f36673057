"""The signer signs what was approved, proves it to itself, and nothing else."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as run
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from dj_wallet.custody.chain.addresses import get_script, p2pkh_address
from dj_wallet.custody.chain.errors import ChainError, KeyInvalid, SigningRefused
from dj_wallet.custody.chain.hashes import hash160
from dj_wallet.custody.chain.key_store import KEPT_SECONDS, KeyRing, load_key
from dj_wallet.custody.chain.keys import AccountKey, is_signature_of
from dj_wallet.custody.chain.networks import BASE_UNITS, get_network
from dj_wallet.custody.chain.signer import (
    DAY_SECONDS,
    Approval,
    Limits,
    SignedTransaction,
    SigningJournal,
    SigningPolicy,
    SigningRequest,
    SpentOutput,
    answer_one,
    seal_approval,
    sign_request,
)
from dj_wallet.custody.chain.transactions import (
    Input,
    Outpoint,
    Output,
    Transaction,
    build_unsigned,
    hash_for_signature,
    p2pkh_script,
    parse,
    read_p2pkh_signature,
)
from dj_wallet.custody.signer import Configuration, make_account, read_configuration
from dj_wallet.custody.signer import run as run_signer

DOGE = get_network("DOGE:regtest")
KEY = AccountKey.from_seed(bytes(range(64)), DOGE)
OTHER_KEY = AccountKey.from_seed(bytes(range(1, 65)), DOGE)
SECRET = b"a secret between approver and signer"
NOW = 1_800_000_000.0
ALICE = p2pkh_address(hash160(b"alice"), DOGE)
MALLORY = p2pkh_address(hash160(b"mallory"), DOGE)
COLD = p2pkh_address(hash160(b"cold"), DOGE)
LIMITS = Limits(1000 * BASE_UNITS, 5000 * BASE_UNITS, frozenset({COLD}))
POLICY = SigningPolicy(SECRET, {DOGE.name: LIMITS})
FEE = BASE_UNITS // 100


def approve(name: str = "w1", address: str = ALICE, amount: int = 100 * BASE_UNITS) -> Approval:
    content = {"withdrawal_id": name, "address": address, "amount": amount, "max_fee": BASE_UNITS}
    return Approval(**content, seal=seal_approval(SECRET, DOGE, **content))


def receive(index: int = 0, amount: int = 300 * BASE_UNITS, chain: int = 0) -> SpentOutput:
    """Return an output of ours with the transaction that made it."""
    script = get_script(KEY.public.get_address(chain, index), DOGE)
    source = Outpoint(hashlib.sha256(b"%d %d" % (index, amount)).hexdigest(), 0)
    previous = Transaction((Input(source, b"\x51"),), (Output(7, b""), Output(amount, script)))
    return SpentOutput(Outpoint(previous.txid, 1), chain, index, previous.serialize())


def get_amount(spent: SpentOutput) -> int:
    return parse(spent.previous).outputs[spent.outpoint.vout].amount


def ask(
    *approvals: Approval,
    inputs: tuple[SpentOutput, ...] = (),
    outputs: list[tuple[str, int]] | None = None,
    fee: int = FEE,
    **changes: Any,
) -> SigningRequest:
    """Return a request that pays what is approved (or other outputs) and gives the rest back to our change key 3."""
    inputs = inputs or (receive(),)
    if outputs is None:
        outputs = [(one.address, one.amount) for one in approvals]
    paid = [Output(amount, get_script(address, DOGE)) for address, amount in outputs]
    rest = sum(map(get_amount, inputs)) - sum(output.amount for output in paid) - fee
    change = [Output(rest, get_script(KEY.public.get_address(1, 3), DOGE))] if rest > 0 else []
    unsigned = build_unsigned([one.outpoint for one in inputs], [*paid, *change])
    request = SigningRequest(
        id="r1",
        network=DOGE,
        account=KEY.public.identifier,
        unsigned=unsigned.serialize(),
        inputs=inputs,
        change_index=3 if change else None,
        approvals=approvals,
    )
    return replace(request, **changes)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SigningJournal]:
    journal = SigningJournal(tmp_path / "journal")
    yield journal
    journal.close()


def answer(request: SigningRequest, journal: SigningJournal, **changes: Any) -> SignedTransaction:
    known = {"key": KEY, "policy": POLICY, "journal": journal, "now": NOW} | changes
    return sign_request(request, **known)


def refuse(request: SigningRequest, journal: SigningJournal, **changes: Any) -> str:
    """Return why a request is refused, having checked that the journal does not remember it."""
    file = Path(journal._lines.name)
    before = file.read_bytes()
    with pytest.raises(SigningRefused) as refusal:
        answer(request, journal, **changes)
    assert file.read_bytes() == before
    return refusal.value.reason


def test_what_was_approved_is_signed_with_the_keys_of_its_inputs(journal):
    inputs = (receive(0), receive(7), receive(2, chain=1))
    request = ask(approve(amount=700 * BASE_UNITS), inputs=inputs)
    signed = answer(request, journal)
    transaction = parse(signed.raw)
    unsigned = parse(request.unsigned)
    assert (signed.txid, signed.fee) == (transaction.txid, FEE)
    assert transaction.outputs == unsigned.outputs
    for at, spent in enumerate(inputs):
        signature, public_key = read_p2pkh_signature(transaction.inputs[at].script_sig)
        assert public_key == KEY.public.get_public_key(spent.chain, spent.index)
        digest = hash_for_signature(unsigned, at, p2pkh_script(hash160(public_key)))
        assert is_signature_of(public_key, signature, digest)


def test_the_same_request_gives_the_same_bytes_and_one_line_of_the_journal(journal):
    first = answer(ask(approve()), journal)
    assert answer(ask(approve()), journal) == first
    assert len(journal.list_spent("w1")) == 1


def test_a_transaction_may_pay_several_withdrawals(journal):
    signed = answer(ask(approve("w1"), approve("w2", amount=5 * BASE_UNITS)), journal)
    assert [output.amount for output in parse(signed.raw).outputs][:2] == [
        100 * BASE_UNITS,
        5 * BASE_UNITS,
    ]


def test_a_payment_without_change_is_signed(journal):
    request = ask(approve(amount=300 * BASE_UNITS - FEE))
    assert request.change_index is None
    assert len(parse(answer(request, journal).raw).outputs) == 1


FORGERIES = {
    "another address": {"address": MALLORY},
    "another amount": {"amount": 101 * BASE_UNITS},
    "another fee": {"max_fee": 2 * BASE_UNITS},
    "another withdrawal": {"withdrawal_id": "w2"},
    "no seal": {"seal": b""},
    "a seal of others": {"seal": bytes(32)},
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_an_approval_that_was_changed_is_refused(journal, change):
    assert refuse(ask(replace(approve(), **change)), journal) == "approval_forged"


def test_an_approval_of_another_network_is_refused(journal):
    content = {
        "withdrawal_id": "w1",
        "address": ALICE,
        "amount": BASE_UNITS,
        "max_fee": BASE_UNITS,
    }
    seal = seal_approval(SECRET, get_network("LTC:regtest"), **content)
    assert refuse(ask(Approval(**content, seal=seal)), journal) == "approval_forged"


@pytest.mark.parametrize(
    "outputs",
    [
        [(MALLORY, 100 * BASE_UNITS)],
        [(ALICE, 99 * BASE_UNITS)],
        [(ALICE, 101 * BASE_UNITS)],
        [(ALICE, 50 * BASE_UNITS), (ALICE, 50 * BASE_UNITS)],
        [(ALICE, 100 * BASE_UNITS), (MALLORY, BASE_UNITS)],
        [(ALICE, 100 * BASE_UNITS), (ALICE, 100 * BASE_UNITS)],
        [(ALICE, 100 * BASE_UNITS), (COLD, BASE_UNITS)],
        [(COLD, 100 * BASE_UNITS)],
    ],
)
def test_outputs_that_nobody_approved_are_refused(journal, outputs):
    assert refuse(ask(approve(), outputs=outputs), journal) == "output_mismatch"


def test_change_to_a_key_of_others_is_refused(journal):
    request = ask(approve())
    transaction = parse(request.unsigned)
    stolen = Output(transaction.outputs[1].amount, get_script(MALLORY, DOGE))
    tampered = replace(transaction, outputs=(transaction.outputs[0], stolen))
    request = replace(request, unsigned=tampered.serialize())
    assert refuse(request, journal) == "change_mismatch"
    assert refuse(replace(request, change_index=None), journal) == "output_mismatch"


@pytest.mark.parametrize("index", [None, 0, 4])
def test_change_to_another_key_than_it_says_is_refused(journal, index):
    reason = refuse(ask(approve(), change_index=index), journal)
    assert reason == ("output_mismatch" if index is None else "change_mismatch")


@pytest.mark.parametrize("index", [-1, 2**31, 2**40])
def test_change_to_no_key_at_all_is_refused(journal, index):
    assert refuse(ask(approve(), change_index=index), journal) == "malformed"


def test_a_fee_above_what_was_approved_is_refused(journal):
    assert refuse(ask(approve(), fee=BASE_UNITS + 1), journal) == "fee_above_cap"


def test_a_fee_above_the_networks_cap_is_refused_whoever_approved_it(journal):
    content = {
        "withdrawal_id": "w1",
        "address": ALICE,
        "amount": 100 * BASE_UNITS,
        "max_fee": 100 * BASE_UNITS,
    }
    approval = Approval(**content, seal=seal_approval(SECRET, DOGE, **content))
    assert refuse(ask(approval, fee=60 * BASE_UNITS), journal) == "fee_above_cap"
    assert refuse(ask(approval, fee=2 * BASE_UNITS), journal) == "fee_above_cap"


def test_an_amount_that_the_previous_transaction_does_not_prove_is_refused(journal):
    """Legacy signatures do not cover amounts: whoever understates one burns the rest as fee."""
    spent = receive(amount=300 * BASE_UNITS)
    previous = parse(spent.previous)
    understated = previous.outputs[1]._replace(amount=101 * BASE_UNITS)
    lie = replace(previous, outputs=(previous.outputs[0], understated))
    request = ask(approve())
    tampered = replace(request, inputs=(replace(spent, previous=lie.serialize()),))
    assert refuse(tampered, journal) == "input_mismatch"


@pytest.mark.parametrize(
    "change",
    [
        {"index": 1},
        {"chain": 1},
        {"outpoint": Outpoint("ab" * 32, 1)},
        {"outpoint": receive().outpoint._replace(vout=0)},
        {"outpoint": receive().outpoint._replace(vout=9)},
        {"previous": receive(1).previous},
    ],
)
def test_an_input_that_is_not_what_it_says_is_refused(journal, change):
    request = ask(approve())
    tampered = replace(request, inputs=(replace(request.inputs[0], **change),))
    assert refuse(tampered, journal) == "input_mismatch"


@pytest.mark.parametrize("change", [{"previous": b""}, {"previous": b"\0" * 60}, {"chain": 2}])
def test_an_input_that_makes_no_sense_is_refused(journal, change):
    request = ask(approve())
    tampered = replace(request, inputs=(replace(request.inputs[0], **change),))
    assert refuse(tampered, journal) == "malformed"


def test_inputs_beside_those_named_are_refused(journal):
    request = ask(approve(), inputs=(receive(0), receive(1)))
    assert refuse(replace(request, inputs=request.inputs[:1]), journal) == "input_mismatch"
    assert refuse(replace(request, inputs=request.inputs[::-1]), journal) == "input_mismatch"
    assert refuse(replace(request, inputs=()), journal) == "input_mismatch"


def test_another_account_or_network_is_refused(journal):
    assert refuse(ask(approve()), journal, key=OTHER_KEY) == "key_mismatch"
    other = get_network("LTC:regtest")
    policy = SigningPolicy(SECRET, {other.name: LIMITS})
    assert refuse(ask(approve(), network=other), journal, policy=policy) == "key_mismatch"


def test_a_network_without_limits_is_not_signed_for(journal):
    assert refuse(ask(approve()), journal, policy=SigningPolicy(SECRET, {})) == "no_limits"


def test_a_withdrawal_above_the_signers_own_limit_is_refused(journal):
    request = ask(approve(amount=1001 * BASE_UNITS), inputs=(receive(amount=2000 * BASE_UNITS),))
    assert refuse(request, journal) == "amount_above_limit"


def ask_for(number: int, amount: int) -> SigningRequest:
    return ask(
        approve(f"day {number}", amount=amount), inputs=(receive(number, 2000 * BASE_UNITS),)
    )


def test_the_withdrawals_of_a_day_stay_below_the_signers_own_limit(journal):
    for number in range(5):
        answer(ask_for(number, 1000 * BASE_UNITS), journal)
    assert refuse(ask_for(5, BASE_UNITS), journal) == "daily_limit"
    answer(ask_for(4, 1000 * BASE_UNITS), journal)  # signed before: it counts once
    later = NOW + DAY_SECONDS
    assert refuse(ask_for(5, BASE_UNITS), journal, now=later) == "daily_limit"
    answer(ask_for(5, BASE_UNITS), journal, now=later + 1)


def test_a_replacement_shares_an_input_with_every_earlier_one(journal):
    one, two, three = receive(1), receive(2), receive(3)
    answer(ask(approve(), inputs=(one,)), journal)
    assert refuse(ask(approve(), inputs=(two,)), journal) == "would_pay_twice"
    answer(ask(approve(), inputs=(one, two), fee=2 * FEE), journal)
    assert refuse(ask(approve(), inputs=(two, three)), journal) == "would_pay_twice"
    assert refuse(ask(approve(), inputs=(three,)), journal) == "would_pay_twice"
    answer(ask(approve(), inputs=(one, three), fee=3 * FEE), journal)


def test_a_withdrawal_is_not_paid_twice_in_one_transaction(journal):
    assert refuse(ask(approve(), approve()), journal) == "would_pay_twice"


def test_the_journal_remembers_after_a_crash_that_cut_its_last_line(tmp_path):
    file = tmp_path / "journal"
    journal = SigningJournal(file)
    answer(ask(approve(), inputs=(receive(1),)), journal)
    journal.close()
    with file.open("a") as lines:
        lines.write('{"network": "DOGE:reg')
    journal = SigningJournal(file)
    assert refuse(ask(approve(), inputs=(receive(2),)), journal) == "would_pay_twice"
    answer(ask(approve("w2"), inputs=(receive(3),)), journal)
    journal.close()
    again = SigningJournal(file)
    assert len(again.list_spent("w1")) == len(again.list_spent("w2")) == 1
    again.close()


def test_two_signers_do_not_write_one_journal(tmp_path, journal):
    with pytest.raises(ChainError):
        SigningJournal(tmp_path / "journal")


def test_without_approvals_only_cold_storage_and_our_change_are_paid(journal):
    signed = answer(ask(outputs=[(COLD, 200 * BASE_UNITS)]), journal)
    assert parse(signed.raw).outputs[0].script == get_script(COLD, DOGE)
    own = parse(answer(ask(outputs=[]), journal).raw)
    assert [output.script for output in own.outputs] == [
        get_script(KEY.public.get_address(1, 3), DOGE)
    ]
    for outputs in ([(MALLORY, BASE_UNITS)], [(COLD, BASE_UNITS), (MALLORY, BASE_UNITS)]):
        assert refuse(ask(outputs=outputs), journal) == "not_cold_address"


@pytest.mark.parametrize("unsigned", [b"", b"\0" * 10, ask(approve()).unsigned[:-1]])
def test_bytes_that_are_no_transaction_are_refused(journal, unsigned):
    assert refuse(ask(approve(), unsigned=unsigned), journal) == "malformed"


def test_a_transaction_that_is_signed_already_is_refused(journal):
    request = ask(approve())
    signed = answer(request, journal)
    with pytest.raises(SigningRefused) as refusal:
        answer(replace(request, unsigned=signed.raw), journal)
    assert refusal.value.reason == "malformed"


def test_outputs_worth_more_than_the_inputs_are_refused(journal):
    assert refuse(ask(approve(amount=400 * BASE_UNITS), change_index=None), journal) == "malformed"


@run(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_single_byte_makes_the_signer_pay_others(journal, data):
    """Whatever a writer of rows does to the transaction: all money goes to Alice, to our change, or into a capped fee."""
    request = ask(approve())
    raw = bytearray(request.unsigned)
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] = data.draw(st.integers(0, 255))
    try:
        signed = answer(replace(request, unsigned=bytes(raw)), journal)
    except SigningRefused:
        return
    scripts = {get_script(ALICE, DOGE), get_script(KEY.public.get_address(1, 3), DOGE)}
    outputs = parse(signed.raw).outputs
    assert {output.script for output in outputs} == scripts
    assert outputs[0].amount == 100 * BASE_UNITS
    assert signed.fee <= BASE_UNITS


class Desk:
    """A desk of a list: what waits, what was signed, what was refused."""

    def __init__(self, *requests: SigningRequest) -> None:
        self.waiting = list(requests)
        self.signed: dict[str, SignedTransaction] = {}
        self.refused: dict[str, str] = {}

    def claim_request(self) -> SigningRequest | None:
        return self.waiting[0] if self.waiting else None

    def store_signed(self, request_id: str, signed: SignedTransaction) -> None:
        self.signed[request_id] = signed
        self.waiting.pop(0)

    def store_refusal(self, request_id: str, reason: str, message: str) -> None:
        self.refused[request_id] = f"{reason}: {message}"
        self.waiting.pop(0)


def test_a_refused_request_does_not_hold_up_the_next(journal):
    good, bad = ask(approve(), id="good"), ask(approve("w2"), account="ff" * 20, id="bad")
    desk = Desk(bad, good)

    def find_key(network: object, identifier: str) -> AccountKey | None:
        return KEY if identifier == KEY.public.identifier else None

    def step() -> bool:
        return answer_one(desk, find_key=find_key, policy=POLICY, journal=journal, now=NOW)

    assert [step(), step(), step()] == [True, True, False]
    assert list(desk.signed) == ["good"]
    assert list(desk.refused) == ["bad"]


# Where keys come from


def make_secret(key: AccountKey = KEY, **changes: str) -> str:
    secret = {
        "network": key.network.name,
        "xprv": key.export(),
        "xpub": key.public.export(),
        "path": "m/44'/1'/0'",
    }
    return json.dumps(secret | changes)


@pytest.fixture
def secrets_manager(monkeypatch) -> Iterator[Any]:
    """AWS Secrets Manager, simulated by moto behind a socket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("secretsmanager")
    yield client
    client.close()
    server.stop()


def test_the_key_is_read_from_secrets_manager(secrets_manager):
    secrets_manager.create_secret(Name="wallet/doge/account0", SecretString=make_secret())
    assert load_key("aws:wallet/doge/account0").export() == KEY.export()
    with pytest.raises(KeyInvalid) as refusal:
        load_key("aws:wallet/doge/nobody")
    assert "aws:wallet/doge/nobody" in str(refusal.value)


def test_a_key_that_is_added_is_found_when_the_ring_is_fetched_again(tmp_path):
    now = [0.0]
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    files[0].write_text(make_secret())
    files[1].write_text(make_secret())
    ring = KeyRing([f"file:{file}" for file in files], clock=lambda: now[0])
    assert ring.find_key(DOGE, KEY.public.identifier).export() == KEY.export()
    files[1].write_text(make_secret(OTHER_KEY))
    assert ring.find_key(DOGE, OTHER_KEY.public.identifier) is None
    now[0] = KEPT_SECONDS
    assert ring.find_key(DOGE, OTHER_KEY.public.identifier).export() == OTHER_KEY.export()
    assert ring.find_key(get_network("LTC:regtest"), KEY.public.identifier) is None


def test_keys_that_cannot_be_fetched_again_are_not_used(tmp_path):
    now = [0.0]
    file = tmp_path / "key.json"
    file.write_text(make_secret())
    ring = KeyRing([f"file:{file}"], clock=lambda: now[0])
    ring.find_key(DOGE, KEY.public.identifier)
    file.unlink()
    now[0] = KEPT_SECONDS
    for _ in range(2):
        with pytest.raises(KeyInvalid):
            ring.find_key(DOGE, KEY.public.identifier)


@pytest.mark.parametrize("source", ["", "doge", "vault:x", "file:", "env:NO_SUCH_VARIABLE", "aws"])
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(KeyInvalid):
        load_key(source)


def test_a_key_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("CUSTODY_TEST_KEY", make_secret())
    assert load_key("env:CUSTODY_TEST_KEY").public.identifier == KEY.public.identifier


# The configuration


def configure(directory: Path, **changes: Any) -> Configuration:
    make_account(DOGE.name, directory)
    file = directory / "signer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return read_configuration(file, SECRET.decode())


def test_an_account_for_development_is_made_once_and_only_its_owner_may_read_it(tmp_path):
    directory = tmp_path / "custody"
    configuration = configure(directory)
    key = load_key(configuration.keys[0])
    assert (directory / "account.xpub").read_text() == key.public.export()
    assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}
    make_account(DOGE.name, directory)
    assert load_key(configuration.keys[0]).export() == key.export()


def test_no_account_of_a_main_network_is_made(tmp_path):
    with pytest.raises(ChainError):
        make_account("DOGE:main", tmp_path / "custody")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_amount": 5, "max_amount_per_day": "5"},
        {"max_amount": "x", "max_amount_per_day": "5"},
        {"max_amount": "NaN", "max_amount_per_day": "5"},
        {"max_amount": "-5", "max_amount_per_day": "5"},
        {"max_amount": "5", "max_amount_per_day": "5", "cold_addresses": ["nowhere"]},
        {
            "max_amount": "5",
            "max_amount_per_day": "5",
            "cold_addresses": ["DBus3bamQjgJULBJtYXpEzDWQRwF5iwxgC"],
        },
        7,
    ],
)
def test_limits_that_make_no_sense_stop_the_signer(tmp_path, limits):
    with pytest.raises(ChainError):
        configure(tmp_path, networks={DOGE.name: limits})


def test_a_short_secret_of_approvals_stops_the_signer(tmp_path):
    make_account(DOGE.name, tmp_path)
    with pytest.raises(ChainError):
        read_configuration(tmp_path / "signer.json", "short")


def test_the_loop_answers_everything_that_waits(tmp_path):
    key_file = tmp_path / "key.json"
    key_file.write_text(make_secret())
    configuration = Configuration((f"file:{key_file}",), tmp_path / "journal", POLICY)
    desk = Desk(ask(approve(), id="one"), ask(approve("w2", MALLORY), id="two"))
    run_signer(desk, configuration, once=True)
    assert sorted(desk.signed) == ["one", "two"]
    assert desk.refused == {}


# Never shown


def test_no_answer_of_the_signer_holds_a_key(tmp_path, journal, caplog):
    secrets = [KEY.export(), KEY.public.export(), KEY._secret.hex(), SECRET.decode()]
    requests = [
        ask(approve()),
        ask(approve("w2"), unsigned=b"x"),
        ask(replace(approve("w3"), amount=1)),
        ask(approve("w4"), change_index=99),
        ask(approve("w5"), inputs=(receive(4),), account=OTHER_KEY.public.identifier),
    ]
    shown = [repr(POLICY), repr(requests), repr(Configuration((), tmp_path, POLICY))]
    for number, request in enumerate(requests):
        desk = Desk(replace(request, id=str(number)))
        answer_one(desk, find_key=lambda *_: KEY, policy=POLICY, journal=journal, now=NOW)
        shown += [repr(desk.signed), repr(desk.refused)]
    shown += [caplog.text, Path(journal._lines.name).read_text()]
    assert not [secret for secret in secrets if secret in "".join(shown)]
