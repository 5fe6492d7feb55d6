"""`--http`: numbers for machines and a page for people, beside a running program. Loaded by nobody
who does not ask for it; it needs `pip install 'ssh-relay[web]'`."""
