-- Undo one side of an entry that dj_wallet_post_one turned out unable to post, before anybody saw it.
create or replace function dj_wallet_take_back(p_account bigint, p_bucket integer, p_delta numeric)
returns void language sql as $$
    update dj_wallet_account set
        balance = balance + case when p_bucket = 0 then p_delta else 0 end,
        locked_balance = locked_balance + case when p_bucket = 1 then p_delta else 0 end,
        pending_balance = pending_balance + case when p_bucket = 2 then p_delta else 0 end,
        version = version - 1
    where id = p_account
$$;
