/*
 * test_model_snapshot.c - many threads take and give back versions while these are swapped as fast as they
 * can be made: nothing is used after its unload, everything is unloaded once. And what an acquire costs, in
 * one thread and in two.
 *
 * Entries are put into the models by hand: the disk is too slow a source of swaps for this.
 */
#include "model_help.h"

#include <stdatomic.h>

enum { READERS = 4, SWAPS = 4000, MODELS = 3 };

static atomic_int loaded;
static atomic_int unloaded;

struct tern_engine_model {
    atomic_uint alive; /* ALIVE until unload */
};

enum { ALIVE = 0x600d };

static void fake_unload(tern_engine_model *model)
{
    assert_int_equal(atomic_exchange(&model->alive, 0xdead), ALIVE);
    atomic_fetch_add(&unloaded, 1);
    free(model);
}

static const tern_engine_api fake_api = {
    .struct_size = sizeof fake_api,
    .abi_version = TERN_ENGINE_ABI,
    .name = "fake",
    .unload = fake_unload,
};
static const tn_engine fake_engine = {&fake_api, NULL};

static tn_models *make(int n)
{
    static const char *const names[] = {"a", "b", "c"};
    tn_model_config configs[MODELS];
    for (int i = 0; i < n; i++)
        configs[i] = (tn_model_config){.name = tn_str_from(names[i]), .base_path = TN_STR("/nowhere")};
    tn_models_options options = help_options(NULL);
    options.poll_seconds = -1;
    return help_start(&options, configs, (uint32_t)n);
}

/* As a load that succeeded would: the new one in, all others of the model out. */
static void swap(tn_models *m, int model, int64_t number)
{
    tn_entry *e = calloc(1, sizeof *e);
    tn_box *box = aligned_alloc(64, sizeof *box);
    assert_non_null(e);
    assert_non_null(box);
    memset(box, 0, sizeof *box);
    e->model = m->models[model];
    e->number = number;
    e->state = TN_STATE_AVAILABLE;
    e->present = e->settled = true;
    e->live = box;
    box->owner = m;
    box->entry = e;
    box->held = tn_held_retain(e->model->held);
    atomic_init(&box->refs, 1);
    box->version =
        (tn_version){.model = e->model->held->config.name, .number = number, .engine = &fake_engine};
    box->version.loaded = malloc(sizeof *box->version.loaded);
    atomic_init(&box->version.loaded->alive, ALIVE);
    box->task.run = tn_life_unload_task;
    atomic_fetch_add(&loaded, 1);
    pthread_mutex_lock(&m->lock);
    e->model->scanned = true;
    for (tn_entry *old = e->model->entries; old != NULL; old = old->next)
        old->present = false;
    e->next = e->model->entries;
    e->model->entries = e;
    m->boxes++;
    e->boxes++;
    assert_true(tn_snapshot_publish(m));
    (void)tn_life_advance(m, e->model);
    tn_models_unlock(m);
}

typedef struct reader {
    tn_models *m;
    atomic_bool *stop;
    uint64_t taken;
    int64_t seen[MODELS];
} reader;

static void *read_on(void *arg)
{
    reader *r = arg;
    static const char *const names[] = {"a", "b", "c"};
    tern_status st;
    while (!atomic_load_explicit(r->stop, memory_order_relaxed)) {
        int i = (int)(r->taken % MODELS);
        tn_version *v;
        if (tn_models_acquire(r->m, &(tn_target){.name = tn_str_from(names[i])}, &v, &st) != TERN_OK)
            abort();
        /* In use, and never older than what this thread saw before. */
        if (atomic_load(&v->loaded->alive) != ALIVE || v->number < r->seen[i])
            abort();
        r->seen[i] = v->number;
        if (r->taken % 64 == 0)
            sched_yield();
        if (atomic_load(&v->loaded->alive) != ALIVE)
            abort();
        tn_version_release(v);
        r->taken++;
    }
    return NULL;
}

static void test_swaps_under_readers(void **state)
{
    tn_models *m = make(MODELS);
    for (int i = 0; i < MODELS; i++)
        swap(m, i, 1);
    atomic_bool stop = false;
    reader readers[READERS];
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        readers[i] = (reader){.m = m, .stop = &stop};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    for (int i = 0; i < SWAPS; i++)
        swap(m, i % MODELS, 2 + i);
    atomic_store(&stop, true);
    uint64_t taken = 0;
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        taken += readers[i].taken;
    }
    print_message("%d swaps under %llu acquires\n", SWAPS, (unsigned long long)taken);
    assert_true(taken > 0);
    tn_models_free(m);
    assert_int_equal(atomic_load(&loaded), SWAPS + MODELS);
    assert_int_equal(atomic_load(&unloaded), SWAPS + MODELS);
}

static void *run_wait(void *arg)
{
    tn_snapshot_wait(arg);
    return NULL;
}

/* A reader that is inside must be waited for, whichever count it took. */
static void test_wait_waits(void **state)
{
    tn_models *m = make(1);
    for (unsigned phase = 0; phase < 2; phase++) {
        atomic_store(&m->phase, 0);
        atomic_fetch_add(&m->readers[7].count[phase], 1);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_wait, m), 0);
        help_sleep_ms(50);
        assert_int_equal(pthread_tryjoin_np(thread, NULL), EBUSY);
        atomic_fetch_sub(&m->readers[7].count[phase], 1);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    tn_models_free(m);
}

typedef struct timed {
    tn_models *m;
    int rounds;
    double ns;
} timed;

static void *time_acquires(void *arg)
{
    timed *t = arg;
    tern_status st;
    tn_target target = {.name = TN_STR("a")};
    int64_t start = tn_now_ns();
    for (int i = 0; i < t->rounds; i++) {
        tn_version *v;
        if (tn_models_acquire(t->m, &target, &v, &st) != TERN_OK)
            abort();
        tn_version_release(v);
    }
    t->ns = (double)(tn_now_ns() - start) / t->rounds;
    return NULL;
}

static void test_cost(void **state)
{
    tn_models *m = make(1);
    swap(m, 0, 1);
    timed t[2] = {{m, 300000, 0}, {m, 300000, 0}};
    (void)time_acquires(&t[0]);
    print_message("acquire and release: %.0f ns in one thread", t[0].ns);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, time_acquires, &t[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    print_message(", %.0f and %.0f ns in two at once\n", t[0].ns, t[1].ns);
    /* No bound that a loaded machine or a sanitizer could break: only that it is no lock convoy. */
    assert_true(t[0].ns < 100000 && t[1].ns < 100000);
    tn_models_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_swaps_under_readers),
        cmocka_unit_test(test_wait_waits),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
