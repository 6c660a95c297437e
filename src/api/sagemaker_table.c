/*
 * api/sagemaker_table.c - see api/sagemaker_table.h.
 */
#include "api/sagemaker_table.h"

#include <stdlib.h>

#include "base/log.h"

#define LOOPBACK "127.0.0.1"

/* ---- ports ---- */

static bool make_ports(tn_ports *ports, int32_t from, int32_t to)
{
    const uint32_t n = to > from ? (uint32_t)(to - from) : 0;
    ports->all = calloc((size_t)n + 1, sizeof *ports->all);
    for (uint32_t i = 0; i < n && ports->all != NULL; i++)
        ports->all[i].number = from + (int32_t)i;
    ports->n = ports->all != NULL ? n : 0;
    return ports->all != NULL;
}

/* As _parse_sagemaker_port_range_mme() divides the range, in floating point and all. */
tern_code tn_table_init(tn_sagemaker_models *s, tern_status *st)
{
    const tn_sagemaker *sm = s->server->sagemaker;
    const int32_t low = sm->port_low, high = low + (int32_t)((double)(sm->port_high - low) * 0.9);
    pthread_mutex_init(&s->lock, NULL);
    s->end = &s->first;
    if (make_ports(&s->rest, low, (low + high) / 2) && make_ports(&s->grpc, (low + high) / 2, high))
        return TERN_OK;
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
}

/* With the lock. The highest one that is free, or NULL. */
static tn_port *take_port(tn_ports *ports)
{
    for (uint32_t i = ports->n; i > 0; i--) {
        tn_port *p = &ports->all[i - 1];
        if (!p->taken && !p->unusable) {
            p->taken = true;
            return p;
        }
    }
    return NULL;
}

/* The process's own ports lie in the range, too. */
static bool is_own(const tn_sagemaker *sm, int number)
{
    for (int32_t i = 0; i < sm->instances; i++)
        if (sm->rest_ports[i] == number || sm->grpc_ports[i] == number)
            return true;
    return false;
}

static bool open_port(tn_sagemaker_models *s, tn_port *p, int tag)
{
    const tn_sagemaker *sm = s->server->sagemaker;
    const int number = sm->port_low > 0 ? p->number : 0; /* any free one: for tests */
    tern_status st;
    if (p->bound != 0)
        return true;
    if (number > 0 && is_own(sm, number)) {
        p->bound = number;
        return true;
    }
    int bound = 0;
    if (tn_net_listen(s->server->net, LOOPBACK, number, tag, &bound, &st) != TERN_OK) {
        tn_warn("sagemaker", "port %d of SAGEMAKER_SAFE_PORT_RANGE is left out: %s", number, st.message);
        return false;
    }
    p->bound = bound;
    return true;
}

/* Until one can be opened. Only the owner of a taken port touches where it is bound. */
static bool open_or_replace(tn_sagemaker_models *s, tn_ports *ports, tn_port **place, int tag)
{
    while (*place != NULL && !open_port(s, *place, tag)) {
        pthread_mutex_lock(&s->lock);
        (*place)->taken = false;
        (*place)->unusable = true;
        *place = take_port(ports);
        pthread_mutex_unlock(&s->lock);
    }
    return *place != NULL;
}

bool tn_table_open_ports(tn_sagemaker_models *s, tn_loaded *entry)
{
    bool good = entry->n == (uint32_t)s->server->sagemaker->instances;
    for (uint32_t i = 0; i < entry->n && good; i++)
        good = open_or_replace(s, &s->rest, &entry->rest[i], TN_LISTENER_REST) &&
               open_or_replace(s, &s->grpc, &entry->grpc[i], TN_LISTENER_GRPC);
    return good;
}

/* ---- entries, with the lock ---- */

static tn_loaded *find(const tn_sagemaker_models *s, tn_str name)
{
    tn_loaded *e = s->first;
    while (e != NULL && !tn_str_eq(e->name, name))
        e = e->next;
    return e;
}

static void free_entry(tn_loaded *e)
{
    free(e->rest);
    free(e->grpc);
    free(e);
}

static tn_loaded *new_entry(tn_str name, size_t instances)
{
    tn_loaded *e = calloc(1, sizeof *e + name.len + 1);
    if (e == NULL)
        return NULL;
    char *text = (char *)(e + 1);
    if (name.len > 0)
        memcpy(text, name.ptr, name.len);
    e->name = (tn_str){text, name.len};
    e->rest = calloc(instances, sizeof(tn_port *));
    e->grpc = calloc(instances, sizeof(tn_port *));
    e->waiting_end = &e->waiting;
    if (e->rest != NULL && e->grpc != NULL)
        return e;
    free_entry(e);
    return NULL;
}

/* As many pairs as there are, up to one for each instance. */
static void take_ports(tn_sagemaker_models *s, tn_loaded *e)
{
    const uint32_t wanted = (uint32_t)s->server->sagemaker->instances;
    for (; e->n < wanted; e->n++) {
        e->rest[e->n] = take_port(&s->rest);
        e->grpc[e->n] = e->rest[e->n] != NULL ? take_port(&s->grpc) : NULL;
        if (e->grpc[e->n] == NULL)
            break;
    }
    if (e->n < wanted && e->rest[e->n] != NULL) {
        e->rest[e->n]->taken = false;
        e->rest[e->n] = NULL;
    }
}

static void unlink_entry(tn_sagemaker_models *s, tn_loaded *e)
{
    tn_loaded **link = &s->first;
    while (*link != e)
        link = &(*link)->next;
    *link = e->next;
    if (s->end == &e->next)
        s->end = link;
    for (uint32_t i = 0; i < e->n; i++) {
        if (e->rest[i] != NULL)
            e->rest[i]->taken = false;
        if (e->grpc[i] != NULL)
            e->grpc[i]->taken = false;
    }
}

static void wait(tn_loaded *e, tn_waiter *waiter)
{
    waiter->task.next = NULL;
    *e->waiting_end = &waiter->task;
    e->waiting_end = &waiter->task.next;
}

/* Without the lock. */
static void call_all(tn_task *waiting)
{
    for (tn_task *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        tn_waiter *w = TN_CONTAINER(waiting, tn_waiter, task);
        tn_loop_post(w->loop, &w->task);
    }
}

/* ---- what others ask ---- */

tn_claim tn_table_claim(tn_sagemaker_models *s, tn_str name, tn_waiter *waiter, tn_loaded **entry)
{
    tn_claim claim = TN_CLAIM_MADE;
    pthread_mutex_lock(&s->lock);
    tn_loaded *e = find(s, name);
    if (e != NULL && e->ready) {
        claim = TN_CLAIM_LOADED;
    } else if (e != NULL) {
        wait(e, waiter);
        claim = TN_CLAIM_WAIT;
    } else if ((e = new_entry(name, (size_t)s->server->sagemaker->instances)) == NULL) {
        claim = TN_CLAIM_NO_MEMORY;
    } else {
        take_ports(s, e);
        claim = e->n > 0 ? TN_CLAIM_MADE : TN_CLAIM_NO_PORTS;
    }
    if (claim == TN_CLAIM_MADE) {
        *s->end = e;
        s->end = &e->next;
        atomic_fetch_add(&s->under_way, 1);
        *entry = e;
    } else if (claim == TN_CLAIM_NO_PORTS) {
        free_entry(e);
    }
    pthread_mutex_unlock(&s->lock);
    return claim;
}

bool tn_table_reserve(tn_sagemaker_models *s, tn_loaded *entry, int64_t bytes, int64_t left)
{
    const int64_t most = s->server->limits.max_models_bytes;
    int64_t all = 0, coming = 0;
    pthread_mutex_lock(&s->lock);
    for (const tn_loaded *e = s->first; e != NULL; e = e->next) {
        all += e->bytes;
        coming += e->ready ? 0 : e->bytes;
    }
    const bool fits = most > 0 ? bytes <= most - all : left < 0 || bytes <= left - coming;
    entry->bytes = fits ? bytes : 0;
    pthread_mutex_unlock(&s->lock);
    return fits;
}

void tn_table_loaded(tn_sagemaker_models *s, tn_loaded *entry)
{
    pthread_mutex_lock(&s->lock);
    entry->ready = true;
    atomic_fetch_sub(&s->under_way, 1);
    tn_task *waiting = entry->waiting;
    entry->waiting = NULL;
    entry->waiting_end = &entry->waiting;
    pthread_mutex_unlock(&s->lock);
    call_all(waiting);
}

void tn_table_gone(tn_sagemaker_models *s, tn_loaded *entry)
{
    pthread_mutex_lock(&s->lock);
    unlink_entry(s, entry);
    atomic_fetch_sub(&s->under_way, 1);
    pthread_mutex_unlock(&s->lock);
    tn_task *waiting = entry->waiting;
    free_entry(entry);
    call_all(waiting);
}

tn_loaded *tn_table_leave(tn_sagemaker_models *s, tn_str name, tn_waiter *waiter, bool *waits)
{
    pthread_mutex_lock(&s->lock);
    tn_loaded *e = find(s, name);
    *waits = e != NULL && !e->ready;
    if (*waits)
        wait(e, waiter);
    else if (e != NULL)
        atomic_fetch_add(&s->under_way, 1);
    if (e != NULL)
        e->ready = false;
    pthread_mutex_unlock(&s->lock);
    return *waits ? NULL : e;
}

bool tn_table_find(tn_sagemaker_models *s, tn_str name, int *rest, int *grpc)
{
    pthread_mutex_lock(&s->lock);
    const tn_loaded *e = find(s, name);
    const bool found = e != NULL && e->ready;
    if (found && rest != NULL)
        *rest = e->rest[0]->bound;
    if (found && grpc != NULL)
        *grpc = e->grpc[0]->bound;
    pthread_mutex_unlock(&s->lock);
    return found;
}

const tn_str *tn_table_names(tn_sagemaker_models *s, tn_arena *arena, uint32_t *n)
{
    bool good = true;
    *n = 0;
    pthread_mutex_lock(&s->lock);
    uint32_t count = 0;
    for (const tn_loaded *e = s->first; e != NULL; e = e->next)
        count += e->ready;
    tn_str *names = tn_arena_array(arena, (size_t)count + 1, sizeof *names);
    for (const tn_loaded *e = s->first; e != NULL && names != NULL && good; e = e->next)
        if (e->ready) {
            names[*n] = tn_arena_dup(arena, e->name);
            good = names[(*n)++].ptr != NULL;
        }
    pthread_mutex_unlock(&s->lock);
    return good ? names : NULL;
}

void tn_table_free(tn_sagemaker_models *s)
{
    for (tn_loaded *e = s->first, *next; e != NULL; e = next) {
        next = e->next;
        free_entry(e);
    }
    free(s->rest.all);
    free(s->grpc.all);
    pthread_mutex_destroy(&s->lock);
}
