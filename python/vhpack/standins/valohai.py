"""Found before the real one by what `vhpack run` starts: importing this makes vhpack be `valohai`."""

from vhpack.standin import install_as_valohai

install_as_valohai()
