"""python -m tern.worker: started by the server."""
import sys

from tern.worker.runtime import main

sys.exit(main())
