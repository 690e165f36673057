-- The function of release 0.2.0's first migrations had one parameter less.
drop function if exists dj_wallet_post_batch(
    bigint[], text[], integer[], integer[], boolean[],
    numeric[], numeric[], numeric[], numeric[], numeric[], numeric[],
    text[], text[], integer[],
    integer[], text[], numeric[],
    bigint[], integer[], integer[], numeric[], integer[],
    bigint[], integer[], integer[], numeric[], integer[],
    text[], text[], text[], uuid[], timestamptz[]);
