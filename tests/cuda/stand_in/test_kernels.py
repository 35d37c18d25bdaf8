"""The stand-in compiles and runs kernels as CuPy does, and knows what they wrote."""

import numpy as np
import pytest

from tests.cuda import strict_cupy
from tests.cuda.strict_cupy import raw
from tinygpt import emulator

SOURCE = """#line 1 "scaled.cu"
extern "C" __global__ void scaled(const float* x, float* y, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i];
}

extern "C" __global__ void added(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += x[i];
}

extern "C" __global__ void order(int* last) {
  atomicExch(last, (int)blockIdx.x);
}

extern "C" __global__ void __launch_bounds__(64) borrowed(float* y, unsigned long long key, bool twice) {
  extern __shared__ float s[];
  s[threadIdx.x] = (float)key;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x ^ 1] * (twice ? 2 : 1);
}
"""
A = np.float32(3)
N = 100


@pytest.fixture
def module(cupy):
    module = cupy.RawModule(code=SOURCE, options=("-std=c++17",))
    module.compile()  # or the test ends here, where there is no g++
    return module


@pytest.fixture
def scaled(module):
    return module.get_function("scaled")


@pytest.fixture
def x(cupy):
    return cupy.arange(N, dtype=np.float32)


@pytest.fixture
def y(cupy):
    return cupy.empty(N, np.float32)


def test_a_kernel_computes_and_is_noted(scaled, card, x, y):
    card.reset()
    scaled((4,), (32,), (x, y, A, N))
    assert (y.get() == 3 * np.arange(N)).all()
    (event,) = card.launches
    assert (event.what, event.nbytes, event.file) == ("scaled", 800, "tests/cuda/stand_in/test_kernels.py")


def test_what_it_does_wrong_is_an_error_with_the_files_line(scaled, x, y):
    with pytest.raises(emulator.KernelError, match=r"scaled, block .*, scaled.cu:3: out of bounds: reads 4 bytes"):
        scaled((4,), (32,), (x[:90], y, A, N))


def test_a_refused_argument_leaves_nothing_behind(scaled, x, y):
    with pytest.raises(emulator.KernelError, match="float"):
        scaled((4,), (32,), (x, y, 3.0, N))
    with pytest.raises(emulator.KernelError, match="out of bounds"):
        scaled((4,), (32,), (x[:90], y, A, N))


# As CuPy's


def test_nothing_is_compiled_before_a_kernel_is_asked_for(cupy):
    module = cupy.RawModule(code="no C at all", options=("-std=c++17",))
    kernel = cupy.RawKernel("no C at all", "k")
    for ask in (module.compile, lambda: module.get_function("k"), lambda: kernel((1,), (1,), ())):
        with pytest.raises(cupy.cuda.compiler.CompileException, match="kernel.cu:1:1: error"):
            ask()


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (dict(code="", options=["-std=c++17"]), TypeError, r"'options' has incorrect type \(expected tuple, got list"),
        (dict(code=b""), TypeError, "'code' has incorrect type"),
        (dict(), TypeError, "Exactly one of `code` and `path`"),
        (dict(code="", name="f"), TypeError, "unexpected keyword"),
        (dict(code="", path="f.cubin"), TypeError, "Exactly one"),
        (dict(code="", name_expressions=["f<int>"]), NotImplementedError, "extern"),
    ],
)
def test_a_module_is_made_of_keywords_of_the_right_types(cupy, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        cupy.RawModule(**arguments)
    with pytest.raises(TypeError, match="positional"):
        cupy.RawModule("")


@pytest.mark.parametrize("options", [("-O3",), ("--fast",), ("-std=c++17", "-march=native")])
def test_an_option_that_nvrtc_does_not_know_is_refused(cupy, module, options):
    with pytest.raises(cupy.cuda.compiler.CompileException, match=f"unrecognized option {options[-1]}"):
        cupy.RawModule(code=SOURCE, options=options).get_function("scaled")


def test_an_option_is_a_string(cupy, module):
    with pytest.raises(TypeError, match="an option is a string, not 3"):
        cupy.RawModule(code=SOURCE, options=(3,)).get_function("scaled")


def test_a_kernel_of_another_name_is_not_found(cupy, module):
    with pytest.raises(cupy.cuda.driver.CUDADriverError, match="CUDA_ERROR_NOT_FOUND: named symbol not found"):
        module.get_function("scale")


def test_a_raw_kernel_is_the_kernel_of_that_name(cupy, module, x, y):
    y.fill(1)
    cupy.RawKernel(SOURCE, "added", ("-std=c++17",))((4,), (32,), (x, y, N))
    assert (y.get() == np.arange(N) + 1).all()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (dict(grid=4), TypeError, "'grid' has incorrect type"),
        (dict(block=[32]), TypeError, "'block' has incorrect type"),
        (dict(grid=()), ValueError, "grid is a tuple of one to three sizes"),
        (dict(grid=(1, 1, 1, 1)), ValueError, "grid is a tuple of one to three sizes"),
        (dict(grid=(4.0,)), TypeError, "float"),
        (dict(block=(1025,)), RuntimeError, "CUDA_ERROR_INVALID_VALUE"),
        (dict(block=(1, 1, 65)), RuntimeError, "CUDA_ERROR_INVALID_VALUE"),
        (dict(grid=(1, 65536)), RuntimeError, "CUDA_ERROR_INVALID_VALUE"),
        (dict(shared_mem=(48 << 10) + 1), RuntimeError, "CUDA_ERROR_INVALID_VALUE.*of dynamic shared memory"),
        (dict(shared_mem=-1), RuntimeError, "CUDA_ERROR_INVALID_VALUE"),
        (dict(shared=1), TypeError, "unexpected keyword"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_launch_that_a_card_refuses_is_refused(scaled, x, y, change, error, sentence):
    given = dict(grid=(4,), block=(32,), args=(x, y, A, N)) | change
    with pytest.raises(error, match=sentence):
        scaled(**given)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (lambda x, y: [x, y, A, N], TypeError, "'args' has incorrect type"),
        (lambda x, y: (x, y, A), TypeError, "scaled has 4 parameters, 3 arguments were given"),
        (lambda x, y: (x.get(), y, A, N), TypeError, "trying to pass a numpy.ndarray of shape"),
        (lambda x, y: (x, y, np.array(3, np.float32), N), TypeError, "trying to pass a numpy.ndarray of shape"),
        (lambda x, y: (x, y, "3", N), TypeError, "Unsupported type <class 'str'>"),
        (lambda x, y: (x, y, 3j, N), TypeError, "Unsupported type <class 'complex'>"),
        (lambda x, y: (x, y, None, N), emulator.KernelError, "a float32, but was given NoneType"),
        (lambda x, y: (x, y.data, A, N), TypeError, "the stand-in wants an array"),
        (lambda x, y: (x, y, 3.0, N), emulator.KernelError, "a Python float is passed as float64"),
        (lambda x, y: (x, y, 3, N), emulator.KernelError, "a float32"),
        (lambda x, y: (x, y, A, 1 << 31), emulator.KernelError, "does not fit"),
        (lambda x, y: (x, y, A, 1 << 64), OverflowError, "out of bounds"),
        (lambda x, y: (x, y, A, np.int64(N)), emulator.KernelError, "a int32"),
        (lambda x, y: (x, y, A, True), emulator.KernelError, "a int32"),
        (lambda x, y: (x, y, A, np.float32(N)), emulator.KernelError, "a int32"),
        (lambda x, y: (x.astype("float64"), y, A, N), emulator.KernelError, "points to float32"),
        (lambda x, y: (x.view("int32"), y, A, N), emulator.KernelError, "points to float32"),
        (lambda x, y: (3, y, A, N), emulator.KernelError, "is a pointer"),
        (lambda x, y: (x.reshape(10, 10).T, y, A, N), ValueError, "would not know that this array .* has the strides"),
        (lambda x, y: (x[::-1], y, A, N), ValueError, "would not know"),
        (lambda x, y: (x[::2], y, A, N // 2), ValueError, "would not know"),
    ],
)
def test_arguments_are_what_the_parameters_say(scaled, x, y, change, error, sentence):
    with pytest.raises(error, match=sentence):
        scaled((4,), (32,), change(x, y))


@pytest.mark.parametrize("null", [None, np.uint64(0), np.intp(0)])
def test_a_null_pointer_is_passed_and_must_not_be_followed(scaled, y, null):
    scaled((4,), (32,), (null, y, A, 0))
    with pytest.raises(emulator.KernelError, match="reads"):
        scaled((4,), (32,), (null, y, A, N))


def test_rows_may_be_apart(module, cupy):
    y, x = cupy.zeros((4, 8), np.float32), cupy.ones((4, 8), np.float32)
    module.get_function("added")((1,), (32,), (x[1:, :5], y[1:, :5], 5))
    assert (y.get()[1] == [1] * 5 + [0] * 3).all() and y.get().sum() == 5


def test_numbers_of_every_kind_arrive(module, cupy):
    y, borrowed = cupy.empty(64, np.float32), module.get_function("borrowed")
    for key, twice in ((5, True), (np.uint64(5), np.bool_(True)), (np.int64(5), True)):
        borrowed((1,), (64,), (y, key, twice), shared_mem=256)
        assert (y.get() == 10).all()


def test_a_size_of_zero_is_one_as_in_cupy(scaled, card, cupy):
    nothing = cupy.empty(0, np.float32)
    scaled((0,), (32,), (nothing, nothing, A, 0))
    assert card.launches[-1].what == "scaled"


def test_shared_memory_beyond_48_kb_must_be_asked_for(cupy, module, card):
    y, borrowed = cupy.empty(64, np.float32), module.get_function("borrowed")
    before = borrowed.max_dynamic_shared_size_bytes
    assert before == 48 << 10 and borrowed.max_threads_per_block == 64
    try:
        borrowed.max_dynamic_shared_size_bytes = 64 << 10
        borrowed((1,), (64,), (y, 1, False), shared_mem=64 << 10)
        with pytest.raises(cupy.cuda.driver.CUDADriverError, match="OUT_OF_RESOURCES: .*128 threads .* bounded to 64"):
            borrowed((1,), (128,), (cupy.empty(128, np.float32), 1, False), shared_mem=512)
        card.compute_capability = "75"
        for size in ((64 << 10) + 1, -1):
            with pytest.raises(cupy.cuda.driver.CUDADriverError, match="a block can have 65,536 bytes"):
                borrowed.max_dynamic_shared_size_bytes = size
    finally:
        borrowed.max_dynamic_shared_size_bytes = before


def test_no_kernel_runs_without_a_card(cupy, scaled, card, x, y):
    card.broken = "no card"
    for use in (lambda: scaled((4,), (32,), (x, y, A, N)), lambda: cupy.RawModule(code=SOURCE).get_function("scaled")):
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="cudaErrorNoDevice"):
            use()


def test_without_a_compiler_a_test_that_needs_kernels_is_skipped_when_it_comes_to_one(cupy, monkeypatch):
    monkeypatch.setattr(raw.emulator, "missing", lambda: "there is no g++")
    module = cupy.RawModule(code="// compiled nowhere yet")
    with pytest.raises(pytest.skip.Exception, match=r"^there is no g\+\+$"):
        module.get_function("k")


# What was written


def test_a_kernel_that_reads_what_nobody_wrote_is_stopped(scaled, x, y):
    with pytest.raises(emulator.KernelError, match="reads 'x' .*, element .*, which was never written"):
        scaled((4,), (32,), (y, x, A, N))


WRITES = {  # all of y but its last element
    "a slice assigned": lambda xp, y, x: y.__setitem__(slice(99), x[:99]),
    "a slice filled": lambda xp, y, x: y[:99].fill(1),
    "a number assigned": lambda xp, y, x: y.__setitem__(slice(None, -1), 2.0),
    "every other one, twice": lambda xp, y, x: (y[:99:2].fill(1), y[1:99:2].fill(1)),
    "into out": lambda xp, y, x: xp.exp(x[:99] * 0, out=y[:99]),
    "in place": lambda xp, y, x: y[:99].__iadd__(1),
    "set": lambda xp, y, x: y[:99].set(np.ones(99, np.float32)),
    "by integers": lambda xp, y, x: y.__setitem__(xp.arange(99), x[:99]),
    "by a mask": lambda xp, y, x: y.__setitem__(x < 99, 1),
    "added by integers": lambda xp, y, x: xp.add.at(y, xp.arange(99), x[:99]),
    "sorted in place": lambda xp, y, x: y[:99].sort(),
    "a product": lambda xp, y, x: xp.matmul(x[:99].reshape(99, 1), x[:1].reshape(1, 1), out=y[:99].reshape(99, 1)),
    "copied": lambda xp, y, x: xp.copyto(y[:99], x[:99]),
    "columns": lambda xp, y, x: [y[:99].reshape(11, 9)[:, i].fill(i) for i in range(9)],
    "transposed": lambda xp, y, x: y[:99].reshape(11, 9).T.__setitem__(slice(None), 1),
}


@pytest.mark.parametrize("seen", [False, True], ids=["at first", "after a kernel saw it"])
@pytest.mark.parametrize("how", WRITES)
def test_what_numpys_side_writes_is_known_exactly(cupy, scaled, card, x, y, how, seen):
    assert card.unwritten(y) == 400
    if seen:
        scaled((4,), (32,), (x, y, A, 0))
    WRITES[how](cupy, y, x)
    assert [card.unwritten(part) for part in (y, y[:99], y[99:])] == [4, 0, 4]
    scaled((4,), (32,), (y, cupy.empty(N, np.float32), A, 99))
    with pytest.raises(emulator.KernelError, match="element 99, which was never written"):
        scaled((4,), (32,), (y, cupy.empty(N, np.float32), A, 100))


def test_what_is_made_whole_is_written(cupy, card, a):
    made = [
        *(cupy.zeros(3), cupy.ones((2, 2)), cupy.full(3, 2), cupy.arange(4), cupy.asarray([1, 2]), cupy.zeros_like(a)),
        *(a.copy(), a.T.copy(), a.astype("float64"), a + a, a.sum(axis=0), a[cupy.asarray([0])], a @ a.T),
        *(cupy.concatenate([a, a]), cupy.ascontiguousarray(a.T), cupy.where(a > 1, a, 0)),
        *(cupy.random.default_rng(0).random(3), cupy.repeat(a, 2), cupy.sort(a), a.argmax(axis=0)),
    ]
    assert [card.unwritten(x) for x in made] == [0] * len(made)
    assert [card.unwritten(x) for x in (cupy.empty(3), cupy.empty_like(a), cupy.ndarray((2, 2)))] == [24, 48, 32]


def test_a_tail_that_a_kernel_leaves_is_counted_and_its_output_is_complete_with_it(scaled, card, x, y):
    scaled((3,), (32,), (x, y, A, N))
    assert card.unwritten(y) == 16 and card.unwritten(y[:96]) == 0
    scaled((4,), (32,), (x, y, A, N))
    assert card.unwritten(y) == 0


def test_gemm_writes_what_it_is_asked_to(cupy, card):
    from tinygpt.backend import gemm

    out = cupy.empty((4, 7), np.float32)
    gemm(cupy.ones((4, 2), np.float32), cupy.ones((2, 5), np.float32), out[:, :5])
    assert card.unwritten(out) == 4 * 2 * 4 and card.unwritten(out[:, :5]) == 0


def test_memory_that_is_gone_is_forgotten(cupy, scaled, x):
    for _ in range(20):  # some of them at the address of one before
        y = cupy.empty(N, np.float32)
        with pytest.raises(emulator.KernelError, match="never written"):
            scaled((4,), (32,), (y, cupy.empty(N, np.float32), A, N))
        y.fill(1)
        scaled((4,), (32,), (y, x, A, N))


# Order


def test_blocks_run_in_another_order_every_time_unless_it_is_asked_for(cupy, card, module):
    def last():
        place = cupy.zeros(1, np.int32)
        module.get_function("order")((50,), (1,), (place,))
        return place.get()

    assert len({int(last()[0]) for _ in range(20)}) > 5
    assert len({int(x[0]) for x in strict_cupy.in_orders(last, [7] * 5)}) == 1
    assert card.seed is None
    assert strict_cupy.unequal_bits([x] for x in strict_cupy.in_orders(last, range(9))) == [0]


# Bytes


def test_bytes_moved_are_those_of_operands_and_results_once(cupy, card, module, x):
    def moved(call):
        card.reset()
        call()
        return card.moved

    y, added, m = cupy.zeros(N, np.float32), module.get_function("added"), cupy.ones((10, 10), np.float32)
    assert moved(lambda: x + x * 0) == (400 + 400) + (400 + 400 + 400)
    assert moved(lambda: m + m[0]) == 400 + 40 + 400  # broadcast
    assert moved(lambda: x.sum()) == 404
    assert moved(lambda: x.copy()) == 800
    assert moved(lambda: y.fill(0)) == 400
    assert moved(lambda: y.__setitem__(slice(50), x[:50])) == 400
    assert moved(lambda: m @ m) == 1200
    assert moved(lambda: x[cupy.asarray([1, 2, 3])]) == 24 + 12 + 12  # indices, elements read, result
    assert moved(lambda: module.get_function("scaled")((4,), (32,), (x, cupy.empty(N, np.float32), A, N))) == 800
    assert moved(lambda: added((4,), (32,), (x, y, N))) == 1200


def test_bytes_of_a_product_in_place(cupy, card):
    from tinygpt.backend import gemm

    a, out = cupy.ones((4, 4), np.float32), cupy.ones((4, 4), np.float32)
    for beta, moved in ((0.0, 3 * 64), (1.0, 4 * 64)):
        card.reset()
        gemm(a, a, out, beta=beta)
        assert card.moved == moved and [launch.what for launch in card.launches] == ["gemm"]


def test_memory_allocated_since_the_reset_is_counted(cupy, card):
    card.reset()
    cupy.empty(100, np.float32), cupy.empty(1000, np.float32)
    assert card.allocated == 512 + 4096


# The device


@pytest.mark.parametrize(("capability", "most"), [(75, 64), (80, 163), (86, 99), (89, 99), (90, 227), (120, 99)])
def test_the_device_says_how_much_shared_memory_a_block_can_have(cupy, card, capability, most):
    card.compute_capability = str(capability)
    assert cupy.cuda.Device().attributes["MaxSharedMemoryPerBlockOptin"] == most << 10
    assert cupy.cuda.runtime.getDeviceProperties(0)["sharedMemPerBlockOptin"] == most << 10


def test_the_number_of_multiprocessors_can_be_another(cupy, card):
    card.multiprocessors = 7
    assert cupy.cuda.Device().attributes["MultiProcessorCount"] == 7
    assert cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"] == 7
    assert cupy.cuda.runtime.memGetInfo()[1] == card.total_memory
