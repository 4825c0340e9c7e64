# packaging.mk: what is made of a build. Included by the Makefile.
#
#   make sbom             build/busbar.cdx.json: what the programs are made of (CycloneDX)
#   make release          build/dist/busbar-VERSION-ARCH.tar.gz, its SHA-256 and its SBOM
#   make reproducible     two builds in two folders must give the same bytes
#   make install-systemd  the unit into DESTDIR/etc/systemd/system
#
#   ENGINE=no             without busbar-engine, which needs libllama

ENGINE ?= yes
SBOM_PROGRAMS := build/busbar $(if $(filter yes,$(ENGINE)),build/busbar-engine)

.PHONY: sbom release reproducible install-systemd
sbom: $(SBOM_PROGRAMS)
	$(PYTHON) tools/sbom.py $(SBOM_PROGRAMS) >build/busbar.cdx.json.tmp
	mv build/busbar.cdx.json.tmp build/busbar.cdx.json

release: $(DEPS_STAMP)
	MAKE="$(MAKE)" CC="$(CC)" sh tools/release.sh $(if $(filter no,$(ENGINE)),--no-engine)

reproducible:
	sh tools/reproducible.sh $(if $(filter yes,$(ENGINE)),--engine)

install-systemd:
	install -Dm644 packaging/systemd/busbar.service $(DESTDIR)/etc/systemd/system/busbar.service
