"""`flows.server.operations_worker` under the module name of version 0.1, which older manifests start.

It goes with version 0.3.
"""

from flows.server.operations_worker import main

if __name__ == "__main__":
    main()
