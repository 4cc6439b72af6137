"""What the live engine loads is no heavier for the backtests beside it."""

import json
import subprocess
import sys


def test_neither_the_engine_nor_the_command_nor_the_data_modules_import_pyarrow_or_pandas() -> None:
    modules = "engine.runtime, console.app, console.cli, console.data, engine.backtest.cache, engine.backtest.generated"
    code = (
        f"import sys, json, {modules}; print(json.dumps([m for m in ('pyarrow', 'pandas', 'numba', 'ccxt') if m in sys.modules]))"
    )
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
