"""The till: balances and holds in Redis. Redis decides; the books remember.

T1  0 <= held <= balance <= 10^15 nanos for every wallet, after every script.
T2  held of a wallet is the sum of its holds.
T3  A hold ends exactly once: by settle or by expire. The loser of a race reads DUP.
T4  Every change of a balance is one event in the partition's stream `{pNN}:l`, id `<epoch>-<seq>`,
    with dense `seq` and, per wallet, dense `ws`.
T5  No script runs on data of another server: each compares `master_replid`, read inside the script,
    with the stamp in its partition's own data (the fence). A restart, a promoted replica and an old
    backup all answer FENCED.
T6  No wall clock decides about money. Leases are renewal counters.

Keys of a partition NN (00 to 63), all in one slot by the hash tag `{pNN}`:

    {pNN}:m           hash    ep epoch · rs stamp · st state · sq last seq · cs committed seq ·
                              be base epoch · np partitions
    {pNN}:w:<wallet>  hash    id · bal · hld · ws · spt · st · v, and k:<key>, s:<key>, d:<digest>;
                              of keys with limits b:<key> (a cap's period), q:<key> (the minute:
                              began|requests|tokens), a:<key> (requests noted as running)
    {pNN}:h           hash    request id → wallet|held|checkpoint|renewals|owner|price|key|slug|meta
    {pNN}:d, {pNN}:dz hash, zset   tombstones of ended holds, and their order
    {pNN}:c           hash    ids of credits and debits
    {pNN}:l           stream  events
    {pNN}:j           hash    request id → what a process claims while the partition is rebuilt

States: OPEN serves; CLOSED is about to be rebuilt; REBUILD takes wallets, then REPLAY takes
credits, charges and holds; KEYS takes rows of keys, as every state does, and opens without a
rebuild.
"""
