@echo off
rem Starts the whole of Sluice on Windows: inside WSL2, because its parts need Linux.
setlocal
where wsl >nul 2>nul
if errorlevel 1 goto explain
wsl --exec true >nul 2>nul
if errorlevel 1 goto explain

echo Starting Sluice inside WSL2. Stop it with Ctrl-C.
wsl --cd "%~dp0.." --exec sh scripts/start.sh %*
exit /b %errorlevel%

:explain
echo Sluice runs on Linux and macOS. On Windows it runs inside WSL2:
echo.
echo   Open PowerShell as administrator, run   wsl --install   and restart.
echo   In the new Ubuntu window, run   sudo apt install python3-venv make
echo   Then start this file again.
echo.
exit /b 1
